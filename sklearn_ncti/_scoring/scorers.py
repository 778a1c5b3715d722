"""The scorer protocol, and checks of scorers that users give."""

from collections import Counter
from dataclasses import dataclass, field
from inspect import Parameter, signature
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import clone, is_classifier, is_regressor

from .._ncti.base import BaseNCTI
from .._ncti.components import NearestCenterClassifier
from .._ncti.scorer import NCTIScorer
from .._utils.validation import check_labels, is_continuous
from .columns import check_columns


@runtime_checkable
class FeatureScorer(Protocol):
    """What ranks candidates: an estimator that measures labelled features.

    Any scikit-learn estimator with these members can be given as `scorer` to
    :func:`~sklearn_ncti.rank_features` and :class:`~sklearn_ncti.ModelSelector`. It is cloned
    for every candidate.

    Attributes
    ----------
    response : {"features", "probabilities"}
        What of a network it measures: the pooled features, or the probabilities of the
        network's own source classes. An estimator without this attribute gets features.

    component_names : sequence of str, optional
        Names of what `components` returns, known before `fit`.

    notes_ : list of str, optional
        After `fit`, what a reader of the score must know. Shown below the table.

    Notes
    -----
    Two methods are optional.

    ``components()`` returns what is normalised over the candidates and added, as a dict of
    name to number, or as :class:`~sklearn_ncti.Components` where the parts that need no other
    candidate differ. Without it, the one component is ``score()``, named after the class.

    ``resample(draws)`` returns the same of every bootstrap resample of the fitted rows, as
    arrays of shape (n_resamples,): an array for a scorer without `components`, else a dict or
    `Components`. Iterating over `draws` yields, for each resample, how often each of the fitted
    rows is drawn. Without it, the scorer is fitted to every resample, which is slower.

    Examples
    --------
    A scorer of one's own, the share of variance that lies between the classes:

    >>> import numpy as np
    >>> from sklearn.base import BaseEstimator
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_ncti import rank_features
    >>> class BetweenShare(BaseEstimator):
    ...     response = "features"
    ...
    ...     def fit(self, X, y):
    ...         self.X_, self.y_ = X - X.mean(axis=0), y
    ...         return self
    ...
    ...     def _share(self, weights):
    ...         between = 0.0
    ...         for c in np.unique(self.y_):
    ...             of_class = weights * (self.y_ == c)
    ...             total = of_class @ self.X_
    ...             between += total @ total / of_class.sum()
    ...         return between / (weights @ (self.X_**2).sum(axis=1))
    ...
    ...     def score(self):
    ...         return self._share(np.ones(len(self.y_)))
    ...
    ...     def resample(self, draws):
    ...         return np.array([self._share(weights) for weights in draws])
    >>> X, y = load_digits(return_X_y=True)
    >>> pool = {"all pixels": X, "upper half": X[:, :32]}
    >>> ranking = rank_features(pool, y, scorer=BetweenShare(), n_resamples=100, random_state=0)
    >>> ranking.best
    'all pixels'
    """

    response: Literal["features", "probabilities"]

    def fit(self, X: ArrayLike, y: ArrayLike) -> Any:
        """Measure labelled rows and return the scorer itself."""

    def score(self) -> float:
        """Return the measure of the fitted rows; larger is better."""


#: Scorers by the words that stand for them.
_WORDS = {
    "ncti": NCTIScorer(),
    "robust": NearestCenterClassifier(cv="loo", shrinkage="scale-free"),
}


@dataclass(frozen=True)
class Scorers:
    """The scorer that ranks, and those whose values are shown as further columns.

    Attributes
    ----------
    ranking : estimator
        The scorer that ranks.

    additional : dict of str to estimator
        The additional scorers by name.

    notes : tuple of str
        What the table must say of the ranking scorer.
    """

    ranking: Any
    additional: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def all(self) -> list[Any]:
        """All of them, the ranking one first."""
        return [self.ranking, *self.additional.values()]

    def check_labels(self, labels: ArrayLike) -> np.ndarray:
        """Return labels as a vector of classes, or of numbers if all scorers take these."""
        y = check_labels(labels, allow_numbers=all(map(takes_numbers, self.all)))
        regressors = [scorer for scorer in self.all if is_regressor(scorer)]
        if regressors and not is_continuous(y):
            raise TypeError(
                f"scorer {regressors[0]!r} predicts real numbers, but y holds classes, as which "
                "whole numbers count. Use companions.LogME(task='regression') for ages or counts, "
                "and a classifier for classes."
            )
        return y


def response_of(scorer: Any) -> str:
    """Return what of a network a scorer measures: "features" or "probabilities"."""
    return getattr(scorer, "response", "features")


def takes_numbers(scorer: Any) -> bool:
    """Return whether a scorer measures how well features predict real numbers."""
    return bool(is_regressor(scorer)) or getattr(scorer, "task", None) in ("auto", "regression")


def component_names(scorer: Any) -> tuple[str, ...]:
    """Names of the components that a scorer will give."""
    return tuple(getattr(scorer, "component_names", (class_name(scorer),)))


def is_cross_validated(scorer: Any) -> bool:
    """Whether a scorer has no score of its own fitted rows, but one of rows it is given."""
    return bool(_needed(scorer))


def can_resample(scorer: Any) -> bool:
    """Whether a scorer resamples its rows itself."""
    return hasattr(scorer, "resample")


def is_ncti(scorer: Any) -> bool:
    """Whether a scorer measures all of NCTI, so that its coordinates can be drawn."""
    return isinstance(scorer, NCTIScorer)


def holds_rows_out(scorer: Any) -> bool:
    """Whether a scorer has a parameter `cv` that makes it measure held-out rows."""
    return isinstance(scorer, BaseNCTI)


def projection_parameters(scorer: Any) -> dict[str, Any]:
    """Return the parameters of the projection of NCTI or a component; none of other scorers."""
    if not isinstance(scorer, BaseNCTI):
        return {}
    return {"n_components": scorer.n_components, "shrinkage": scorer.shrinkage}


def class_name(scorer: Any) -> str:
    """Name of a scorer without one of its own: that of its class in lower case."""
    return type(scorer).__name__.lower()


def is_pair(item: Any) -> bool:
    """Whether an item of a list is a (name, object) pair."""
    return isinstance(item, tuple) and len(item) == 2 and isinstance(item[0], str)


def check_scorer(scorer: Any) -> Any:
    """Return what scores a feature matrix, NCTIScorer() for None, or raise an error.

    That is an estimator with ``fit(X, y)`` and ``score()``, any classifier or regressor, or the
    word for one.
    """
    if scorer is None:
        return NCTIScorer()
    if isinstance(scorer, str):
        if scorer not in _WORDS:
            raise ValueError(
                f"scorer must be an estimator or one of the words {list(_WORDS)}, got {scorer!r}."
            )
        return clone(_WORDS[scorer])
    if not (hasattr(scorer, "fit") and hasattr(scorer, "score")):
        raise TypeError(f"scorer must have fit(X, y) and score(), got {scorer!r}.")
    needed = _needed(scorer)
    if needed and (isinstance(scorer, type) or not _is_predictor(scorer)):
        raise TypeError(
            f"scorer must be a classifier, or have a score() that works without arguments on "
            f"the fitted rows; {getattr(scorer, '__name__', type(scorer).__name__)}.score needs "
            f"{needed}. Use an instance of NCTIScorer, of one of its components or of a "
            "companion, or an estimator with the same contract."
        )
    return scorer


def _is_predictor(scorer: Any) -> bool:
    return bool(is_classifier(scorer) or is_regressor(scorer))


def _needed(scorer: Any) -> list[str]:
    """Arguments without which ``scorer.score`` does not work."""
    return [
        name
        for name, parameter in signature(scorer.score).parameters.items()
        if parameter.default is Parameter.empty
        and parameter.kind in (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
    ]


def check_scorers(scorer: Any) -> Scorers:
    """Return the scorer that ranks, and by name the additional ones.

    Parameters
    ----------
    scorer : None, "ncti", "robust", estimator, or list of these and (name, estimator) pairs
        The first of a list ranks.

    Returns
    -------
    scorers : Scorers
        The scorers. One without a name gets its word, or that of its class in lower case,
        numbered where there are several.

    Raises
    ------
    TypeError
        If one of them cannot score.

    ValueError
        If the list is empty, a word is unknown, two have one name, or columns of one would
        overwrite others.
    """
    if not isinstance(scorer, list | tuple):
        scorer = [scorer]
    if not scorer:
        raise ValueError("scorer is an empty list: give at least 1, or None for NCTIScorer().")
    pairs = [item if is_pair(item) else (_word(item), item) for item in scorer]
    checked = [(name, check_scorer(item)) for name, item in pairs]
    total = Counter(class_name(item) for name, item in checked if name is None)
    seen: Counter[str] = Counter()
    named = []
    for name, item in checked:
        if name is None:
            name = class_name(item)
            seen[name] += 1
            name += f"-{seen[name]}" if total[name] > 1 else ""
        named.append((name, item))
    (_, first), *additional = named
    repeated = [name for name, count in Counter(name for name, _ in named).items() if count > 1]
    if repeated:
        raise ValueError(
            f"scorer has more than one named {repeated}; give each a name of its own with a "
            "(name, scorer) pair."
        )
    names = component_names(first)
    check_columns(names, {class_name(first)}, [name for name, _ in additional])
    word = _word(scorer[0])
    notes = (f"scorer: {word}, that is {first!r}",) if word not in (None, "ncti") else ()
    return Scorers(first, dict(additional), notes)


def _word(item: Any) -> str | None:
    return item if isinstance(item, str) else None
