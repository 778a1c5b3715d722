"""The functions that make GridSearchCV rank as a Ranking does."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .._ncti.base import COMPONENTS
from .._scoring.normalization import NORMALIZATIONS, check_weights, summed


def ncti_scoring(estimator: Any, X: Any, y: ArrayLike) -> dict[str, float]:
    """Components of a fitted pipeline that ends in NCTIScorer, for ``GridSearchCV``.

    To be given as ``scoring``, together with ``refit=ncti_refit``. The features are computed
    once for all components.

    Parameters
    ----------
    estimator : Pipeline or NCTIScorer
        A fitted pipeline whose last step is an :class:`NCTIScorer`, or that step alone.

    X : array-like
        Rows to score, as the first step of the pipeline takes them.

    y : array-like of shape (n_samples,)
        Their classes.

    Returns
    -------
    components : dict of str to float
        "seli", "ncc" and "vc", and "score", the score that needs no other candidate. Larger
        is better for each.

    Raises
    ------
    TypeError
        If the last step is no NCTIScorer.

    See Also
    --------
    ncti_refit : Picks the candidate with the largest summed normalised score.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.decomposition import PCA
    >>> from sklearn.model_selection import GridSearchCV
    >>> from sklearn.pipeline import Pipeline
    >>> from sklearn_ncti import NCTIScorer, ncti_refit, ncti_scoring
    >>> X, y = load_digits(return_X_y=True)
    >>> search = GridSearchCV(
    ...     Pipeline([("backbone", PCA()), ("ncti", NCTIScorer())]),
    ...     {"backbone__n_components": [2, 8, 32]},
    ...     scoring=ncti_scoring,
    ...     refit=ncti_refit,
    ...     cv=3,
    ... )
    >>> search.fit(X, y).best_params_
    {'backbone__n_components': 32}
    """
    steps = getattr(estimator, "steps", None)
    scorer = estimator if steps is None else estimator[-1]
    if not hasattr(scorer, "components"):
        raise TypeError(
            f"estimator must end in an NCTIScorer, got {type(scorer).__name__}: use "
            "Pipeline([..., ('ncti', NCTIScorer())])."
        )
    features = X if steps is None or len(steps) == 1 else estimator[:-1].transform(X)
    components = scorer.components(features, y)
    return {**components.raw, "score": sum(components.absolute.values())}


def ncti_refit(
    cv_results: Mapping[str, ArrayLike],
    *,
    normalization: str = "minmax",
    weights: Mapping[str, float] | None = None,
) -> int:
    """Index of the candidate with the largest summed normalised score, for ``GridSearchCV``.

    To be given as ``refit``, together with ``scoring=ncti_scoring``. The mean of each
    component over the splits is normalised over the candidates, and the sum decides.

    Parameters
    ----------
    cv_results : dict of str to array-like of shape (n_candidates,)
        The ``cv_results_`` of a search that was scored with :func:`ncti_scoring`.

    normalization : {"minmax", "zscore", "rank"}, default="minmax"
        As in :func:`rank_features`; change it with :func:`functools.partial`. The sum of
        the absolute parts needs no callable: it is ``refit="score"``.

    weights : dict of str to float, default=None
        As in :func:`rank_features`.

    Returns
    -------
    best_index : int
        Position of the best candidate. One whose fit or score failed is never the best.

    Raises
    ------
    ValueError
        If the results were not scored with :func:`ncti_scoring`, or all candidates failed.
    """
    allowed = tuple(name for name in NORMALIZATIONS if name != "absolute")
    if normalization not in allowed:
        raise ValueError(f"normalization must be one of {list(allowed)}, got {normalization!r}.")
    columns = {name: cv_results.get(f"mean_test_{name}") for name in COMPONENTS}
    if any(column is None for column in columns.values()):
        raise ValueError(
            "cv_results has no mean_test_seli, mean_test_ncc and mean_test_vc: pass "
            "scoring=ncti_scoring together with refit=ncti_refit."
        )
    weights = check_weights(weights, COMPONENTS)
    values = np.array([columns[name] for name in COMPONENTS], dtype=float)
    ok = np.isfinite(values).all(axis=0)
    if not ok.any():
        raise ValueError("All candidates of the search failed: there is none to refit.")
    values[:, ~ok] = np.nan
    components = dict(zip(COMPONENTS, values, strict=True))
    return int(np.nanargmax(summed(components, normalization, weights)[0]))
