"""Floor 5: ModelSelector, the only place where backbones and scores meet."""

import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, TransformerMixin, _fit_context, clone
from sklearn.pipeline import Pipeline
from sklearn.utils import get_tags
from sklearn.utils._param_validation import HasMethods, StrOptions
from sklearn.utils.metaestimators import available_if
from sklearn.utils.parallel import Parallel, delayed
from sklearn.utils.validation import (
    _num_samples,
    check_consistent_length,
    check_is_fitted,
    check_memory,
)

from ._callbacks import CallbackSupportMixin
from ._ranking import (
    NORMALIZATIONS,
    attempt,
    check_labels,
    check_scorer,
    check_weights,
    component_names,
    rank_records,
    score_features,
)
from .backbones import TimmBackbone, TorchBackbone, check_model_name, expand_model_names
from .backbones._timm import is_wildcard


def _final_estimator_has(method: str) -> Callable[[Any], bool]:
    """Whether the selector has a final estimator with `method`."""

    def check(self):
        getattr(self.final_estimator, method)
        return True

    return check


class ModelSelector(CallbackSupportMixin, TransformerMixin, BaseEstimator):
    """Rank candidate backbones on labelled data, and keep the best one.

    Every candidate turns `X` into features; a scorer measures how near these are to neural
    collapse; the components are normalised over the candidates and added. Nothing is
    fine-tuned. Candidates are usually ``timm`` models over images, but any scikit-learn
    transformer will do.

    A candidate that fails, at whatever step, is ranked last with its error and warned about;
    the others are ranked. Names are checked before anything is downloaded.

    Read more in the :ref:`User Guide <selection>`.

    Parameters
    ----------
    models : list
        The candidates. Each item is one of

        - the name of a ``timm`` model, such as ``"resnet18.a1_in1k"``,
          ``"local-dir:folder"`` or ``"hf-hub:owner/name"``;
        - a wildcard of ``timm`` names with pre-trained weights, such as ``"convnext_t*"``;
        - a torch module that gives features, see :class:`TorchBackbone`;
        - a transformer, such as ``TimmBackbone("resnet18", batch_size=8)`` or ``PCA()``;
        - a pair (name, any of these but a wildcard).

        Items without a name of their own are named after the model or the class.

    scorer : estimator, default=None
        What scores a feature matrix: an estimator with ``fit(X, y)`` and ``score()``. None
        for ``NCTIScorer()``.

    normalization : {"minmax", "zscore", "rank", "absolute"}, default="minmax"
        How components become comparable before they are added, see :func:`rank_features`.

    weights : dict of str to float, default=None
        Weight of components in the sum, by name; 1 for those that are not named.

    final_estimator : estimator, default=None
        Fitted on the features of the best candidate, for `predict`, `predict_proba`,
        `decision_function` and `score`.

    refit : bool, default=True
        Whether to fit the best candidate, and the final estimator, on all of `X`.

    n_jobs : int, default=None
        Candidates that run at the same time, through joblib. None for 1.

    error_score : "raise" or float, default=nan
        What a failed candidate shows as its score; it is ranked last whatever the value.
        "raise" stops at the first failure.

    memory : str or object with the joblib.Memory interface, default=None
        Where features are kept, so that the next fit with the same candidate, its weights,
        the same `X` and `y` need not extract them again. Files are the same while path,
        size and time of change are.

    verbose : int, default=0
        1 writes a line per candidate to standard error; 2 also shows the progress of each
        ``timm`` model given by name.

    Attributes
    ----------
    ranking_ : Ranking
        The candidates, best first.

    results_ : dict of str to ndarray of shape (n_candidates,)
        In the manner of ``cv_results_``, in the order of the candidates: `model`, `rank`,
        `score`, `seli`, `ncc`, `vc`, `normalized_seli`, `normalized_ncc`, `normalized_vc`,
        `n_features`, `shrinkage`, `extract_time` and `score_time` in seconds, and `error`
        (empty where there was none).

    best_index_ : int
        Position of the best candidate in `results_`.

    best_name_ : str
        Name of the best candidate.

    best_score_ : float
        Its score; larger is better.

    best_model_ : estimator
        The best candidate, fitted; with a final estimator, the fitted pipeline of both. Only
        with ``refit=True``.

    classes_ : ndarray of shape (n_classes,)
        The class labels.

    n_features_in_ : int
        Number of features seen in `fit`, where the best candidate takes a feature matrix.

    feature_names_in_ : ndarray of shape (n_features_in_,)
        Their names, where it has seen names.

    See Also
    --------
    rank_features : Rank feature matrices that are there already.
    TimmBackbone : Features of a timm model, with parameters for device and batches.

    Examples
    --------
    Candidates need not be networks. Here two ways to reduce a feature matrix are compared:

    >>> from sklearn.datasets import load_digits
    >>> from sklearn.decomposition import PCA
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.random_projection import GaussianRandomProjection
    >>> from sklearn_ncti import ModelSelector
    >>> X, y = load_digits(return_X_y=True)
    >>> selector = ModelSelector(
    ...     [
    ...         ("pca", PCA(n_components=16)),
    ...         ("random", GaussianRandomProjection(n_components=16, random_state=0)),
    ...     ],
    ...     final_estimator=LogisticRegression(max_iter=1000),
    ... ).fit(X, y)
    >>> selector.best_name_
    'pca'
    >>> selector.predict(X[:3])
    array([0, 1, 2])
    """

    _parameter_constraints: dict = {
        "models": [list, tuple],
        "scorer": [HasMethods(["fit", "score"]), None],
        "normalization": [StrOptions(set(NORMALIZATIONS))],
        "weights": [Mapping, None],
        "final_estimator": [HasMethods(["fit"]), None],
        "refit": ["boolean"],
        "n_jobs": [Integral, None],
        "error_score": [StrOptions({"raise"}), Real],
        "memory": [str, Path, HasMethods(["cache"]), None],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        models: Sequence[Any],
        *,
        scorer: Any = None,
        normalization: str = "minmax",
        weights: Mapping[str, float] | None = None,
        final_estimator: Any = None,
        refit: bool = True,
        n_jobs: int | None = None,
        error_score: str | float = np.nan,
        memory: Any = None,
        verbose: int = 0,
    ):
        self.models = models
        self.scorer = scorer
        self.normalization = normalization
        self.weights = weights
        self.final_estimator = final_estimator
        self.refit = refit
        self.n_jobs = n_jobs
        self.error_score = error_score
        self.memory = memory
        self.verbose = verbose

    # The names of the pairs are known without looking anything up, so theirs are the
    # parameters that can be reached, as in FeatureUnion.
    def _named(self) -> dict[str, Any]:
        if not isinstance(self.models, list | tuple):
            return {}
        return {item[0]: item[1] for item in self.models if _is_pair(item)}

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Parameters of the selector, and with `deep` of the candidates given as pairs.

        Parameters
        ----------
        deep : bool, default=True
            Whether to include ``name`` and ``name__parameter`` of every (name, estimator)
            pair in `models`.

        Returns
        -------
        params : dict of str to object
            Values by parameter name.
        """
        params = super().get_params(deep=deep)
        if deep:
            for name, candidate in self._named().items():
                params[name] = candidate
                if hasattr(candidate, "get_params"):
                    values = candidate.get_params(deep=True)
                    params |= {f"{name}__{key}": value for key, value in values.items()}
        return params

    def set_params(self, **params: Any) -> Self:
        """Set parameters of the selector or of candidates, as `get_params` names them.

        Parameters
        ----------
        **params : dict
            Values by name. The name of a pair replaces that candidate.

        Returns
        -------
        self : ModelSelector
            The selector itself.
        """
        if "models" in params:
            self.models = params.pop("models")
        replaced = {name: params.pop(name) for name in self._named() if name in params}
        if replaced:
            self.models = [
                (item[0], replaced.get(item[0], item[1])) if _is_pair(item) else item
                for item in self.models
            ]
        return super().set_params(**params)

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: Any, y: ArrayLike) -> Self:
        """Extract, score and rank; then fit the best candidate.

        Parameters
        ----------
        X : array-like or sequence of length n_samples
            What every candidate takes: images as a sequence of paths or an array, or a
            feature matrix for ordinary transformers.

        y : array-like of shape (n_samples,)
            Class of each row.

        Returns
        -------
        self : ModelSelector
            The fitted selector.

        Raises
        ------
        ValueError
            If there are no candidates, two have one name, a name is unknown, `y` is no
            vector of at least two classes or has another length than `X`, or if all
            candidates fail.

        TypeError
            If an item of `models` is no candidate, or `scorer` cannot score fitted rows.
        """
        if y is None:
            raise ValueError("ModelSelector requires y to be passed, but the target y is None.")
        y = check_labels(y)
        check_consistent_length(X, y)
        candidates = self._candidates()
        scorer = check_scorer(self.scorer)
        check_weights(self.weights, component_names(scorer))
        memory = check_memory(self.memory)

        context = self._init_callback_context(max_subtasks=len(candidates) + bool(self.refit))
        context.call_on_fit_task_begin(estimator=self, X=X, y=y)
        # All contexts are made before the parallel loop, which pickles what it is given.
        tasks = [(*c, context.subcontext(task_name=f"score-{c[0]}")) for c in candidates]
        records = Parallel(n_jobs=self.n_jobs)(
            delayed(_run_candidate)(self, name, model, X, y, scorer, memory, subcontext)
            for name, model, subcontext in tasks
        )
        self.ranking_ = rank_records(
            records,
            normalization=self.normalization,
            weights=self.weights,
            error_score=np.nan if self.error_score == "raise" else self.error_score,
        )
        self.results_ = self.ranking_.results
        self.classes_ = np.unique(y)
        self.best_index_ = self.ranking_.best_index
        self.best_name_ = self.ranking_.best
        self.best_score_ = float(self.results_["score"][self.best_index_])
        self.__dict__.pop("best_model_", None)
        if self.refit:
            subcontext = context.subcontext(task_name="refit-best-model")
            subcontext.call_on_fit_task_begin(estimator=self, X=X, y=y)
            self._refit(candidates[self.best_index_][1], X, y, memory)
            subcontext.call_on_fit_task_end(estimator=self, X=X, y=y)
        context.call_on_fit_task_end(estimator=self, X=X, y=y)
        return self

    def _candidates(self) -> list[tuple[str, Any]]:
        """Return (name, transformer) of every candidate; all names checked, none fitted."""
        if not self.models:
            raise ValueError("models is empty: at least 1 candidate is needed.")
        # (name, transformer, whether somebody chose the name)
        found: list[tuple[str, Any, bool]] = []
        from_wildcards: set[str] = set()
        for item in self.models:
            if isinstance(item, str) and is_wildcard(item):
                known = {name for name, _, _ in found}
                names = [name for name in expand_model_names([item]) if name not in known]
                from_wildcards.update(names)
                found += [(name, self._as_transformer(name), True) for name in names]
            elif isinstance(item, str) and item in from_wildcards:
                continue
            elif _is_pair(item):
                found.append((item[0], self._as_transformer(item[1]), True))
            else:
                transformer = self._as_transformer(item)
                chosen = isinstance(transformer, TimmBackbone)
                found.append((_default_name(transformer), transformer, chosen))

        # Names that nobody chose are told apart by a number, as make_pipeline does; one that
        # somebody chose must be unique.
        total = Counter(name for name, _, chosen in found if not chosen)
        seen: Counter[str] = Counter()
        candidates = []
        for name, transformer, chosen in found:
            seen[name] += not chosen
            numbered = not chosen and total[name] > 1
            candidates.append((f"{name}-{seen[name]}" if numbered else name, transformer))
        repeated = [name for name, k in Counter(n for n, _ in candidates).items() if k > 1]
        if repeated:
            raise ValueError(
                f"models has more than one candidate named {repeated}; give each a name of "
                "its own with a (name, model) pair."
            )
        own = self.get_params(deep=False)
        reserved = [name for name in self._named() if "__" in name or name in own]
        if reserved:
            raise ValueError(
                f"models has the names {reserved}, which contain '__' or are parameters of "
                "ModelSelector; choose others, so that set_params can tell them apart."
            )
        return candidates

    def _as_transformer(self, model):
        """Turn whatever stands for a candidate into a transformer."""
        if isinstance(model, str):
            model = TimmBackbone(model, verbose=max(0, int(self.verbose) - 1))
        elif _is_torch_module(model):
            model = TorchBackbone(model)
        if isinstance(model, type) or not (hasattr(model, "fit") and hasattr(model, "transform")):
            raise TypeError(
                f"models must hold timm names, torch modules, transformers or (name, model) "
                f"pairs, got {model!r}."
            )
        if isinstance(model, TimmBackbone):
            check_model_name(model.model, model.pretrained)
        return model

    def _refit(self, candidate, X, y, memory):
        """Fit the best candidate on all rows, and on its features the final estimator."""
        if self.final_estimator is None:
            self.best_model_ = clone(candidate).fit(X, y)
            return
        features, fitted = _extract(candidate, X, y, memory)
        final = clone(self.final_estimator).fit(features, y)
        self.best_model_ = Pipeline([("model", fitted), ("final_estimator", final)])

    def _best(self):
        """Return the fitted best candidate, without the final estimator."""
        check_is_fitted(self, "ranking_")
        if not self.refit:
            raise AttributeError(
                "This ModelSelector was made with refit=False and has no fitted best model; "
                "set refit=True, or fit the candidate named best_name_ yourself."
            )
        return self.best_model_ if self.final_estimator is None else self.best_model_[0]

    def transform(self, X: Any) -> np.ndarray:
        """Features that the best candidate gives.

        Parameters
        ----------
        X : array-like or sequence of length n_samples
            As in `fit`.

        Returns
        -------
        features : ndarray of shape (n_samples, n_features_out)
            The features.
        """
        return self._best().transform(X)

    @available_if(_final_estimator_has("predict"))
    def predict(self, X: Any) -> np.ndarray:
        """Prediction of the final estimator on the features of the best candidate.

        Parameters
        ----------
        X : array-like or sequence of length n_samples
            As in `fit`.

        Returns
        -------
        y : ndarray of shape (n_samples,)
            Predicted labels.
        """
        self._best()
        return self.best_model_.predict(X)

    @available_if(_final_estimator_has("predict_proba"))
    def predict_proba(self, X: Any) -> np.ndarray:
        """Class probabilities of the final estimator.

        Parameters
        ----------
        X : array-like or sequence of length n_samples
            As in `fit`.

        Returns
        -------
        P : ndarray of shape (n_samples, n_classes)
            Probabilities.
        """
        self._best()
        return self.best_model_.predict_proba(X)

    @available_if(_final_estimator_has("decision_function"))
    def decision_function(self, X: Any) -> np.ndarray:
        """Decision function of the final estimator.

        Parameters
        ----------
        X : array-like or sequence of length n_samples
            As in `fit`.

        Returns
        -------
        decision : ndarray of shape (n_samples,) or (n_samples, n_classes)
            Confidence scores.
        """
        self._best()
        return self.best_model_.decision_function(X)

    @available_if(_final_estimator_has("score"))
    def score(self, X: Any, y: ArrayLike) -> float:
        """Score of the final estimator, such as its accuracy.

        Parameters
        ----------
        X : array-like or sequence of length n_samples
            As in `fit`.

        y : array-like of shape (n_samples,)
            True labels.

        Returns
        -------
        score : float
            What ``final_estimator.score`` gives.
        """
        self._best()
        return self.best_model_.score(X, y)

    def get_feature_names_out(self, input_features: ArrayLike | None = None) -> np.ndarray:
        """Names of the features that `transform` gives.

        Parameters
        ----------
        input_features : array-like of str, default=None
            Passed to the best candidate.

        Returns
        -------
        names : ndarray of str
            The names.
        """
        return self._best().get_feature_names_out(input_features)

    @property
    def n_features_in_(self) -> int:
        """Number of features seen in `fit`."""
        return self.best_model_.n_features_in_

    @property
    def feature_names_in_(self) -> np.ndarray:
        """Names of the features seen in `fit`."""
        return self.best_model_.feature_names_in_

    def __sklearn_is_fitted__(self):
        return hasattr(self, "ranking_")

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        # A candidate that cannot take the input is ranked last, so one that can is enough.
        items = self.models if isinstance(self.models, list | tuple) else []
        models = [item[1] if _is_pair(item) else item for item in items]
        inputs = [get_tags(m).input_tags for m in models if hasattr(m, "__sklearn_tags__")]
        tags.input_tags.sparse = any(tag.sparse for tag in inputs)
        tags.input_tags.two_d_array = any(tag.two_d_array for tag in inputs)
        tags.input_tags.three_d_array = len(inputs) < len(models) or any(
            tag.three_d_array for tag in inputs
        )
        if self.final_estimator is not None:
            final = get_tags(self.final_estimator)
            tags.estimator_type = final.estimator_type
            tags.classifier_tags = final.classifier_tags
            tags.regressor_tags = final.regressor_tags
        return tags


def _is_pair(item) -> bool:
    return isinstance(item, tuple) and len(item) == 2 and isinstance(item[0], str)


def _is_torch_module(model) -> bool:
    # A module can only have been made where torch is imported already.
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(model, torch.nn.Module)


def _default_name(transformer) -> str:
    """Name of a candidate that was given without one."""
    if isinstance(transformer, TimmBackbone):
        return transformer.model
    named = transformer
    if isinstance(transformer, TorchBackbone):
        named = transformer.module
        if isinstance(named, str | os.PathLike):
            return os.fspath(named)
    return getattr(named, "__name__", type(named).__name__).lower()


def _run_candidate(selector, name, model, X, y, scorer, memory, context):
    """Record of one candidate, from its network to its components."""
    context.call_on_fit_task_begin(estimator=selector, X=X, y=y)
    run = attempt if selector.error_score != "raise" else _unguarded
    start = time.perf_counter()
    record = {"model": name, **run(_extract_and_score, model, X, y, scorer, memory)}
    if selector.verbose:
        outcome = record["error"] or f"{record['n_features']} features"
        seconds = time.perf_counter() - start
        sys.stderr.write(f"[ModelSelector] {name}: {outcome} ({seconds:.1f} s)\n")
    context.call_on_fit_task_end(estimator=selector, X=X, y=y)
    return record


def _unguarded(function, *args):
    return {"error": "", **function(*args)}


def _extract_and_score(model, X, y, scorer, memory):
    start = time.perf_counter()
    features, _ = _extract(model, X, y, memory)
    extract_time = time.perf_counter() - start
    n_rows = _num_samples(features)
    if n_rows != len(y):
        raise ValueError(
            f"the candidate gave {n_rows} rows of features for {len(y)} labels: all "
            "candidates must be scored on the same rows."
        )
    return {"extract_time": extract_time, **score_features(features, y, scorer)}


def _extract(model, X, y, memory):
    """Features of one candidate and the candidate itself, fitted."""
    stamps = _stamps(X), _stamps(_weight_files(model))
    return memory.cache(_fit_transform)(clone(model), X, y, stamps)


def _fit_transform(model, X, y, stamps):
    # The stamps are not used here: they are part of the key under which features are kept.
    try:
        return model.fit_transform(X, y), model
    finally:
        if hasattr(model, "_drop_network"):
            # The next candidate needs the room on the device.
            model._drop_network()


def _weight_files(model) -> list[Path]:
    """Files that a backbone with local weights reads."""
    if isinstance(model, TimmBackbone) and model.model.startswith("local-dir:"):
        return sorted(Path(model.model.removeprefix("local-dir:")).glob("*"))
    if isinstance(model, TorchBackbone) and isinstance(model.module, str | os.PathLike):
        return [Path(model.module)]
    return []


def _stamps(X) -> list[tuple[str, int, int]]:
    """Path, size and time of change of every file among `X`, for the key of the cache."""
    if not isinstance(X, Sequence) and getattr(X, "ndim", 0) != 1:
        return []
    paths = [os.fspath(x) for x in X if isinstance(x, str | os.PathLike)]
    stats = [(path, os.stat(path)) for path in paths if os.path.exists(path)]
    return [(path, stat.st_size, stat.st_mtime_ns) for path, stat in stats]
