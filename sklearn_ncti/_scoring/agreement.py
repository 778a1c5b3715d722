"""Rank correlations of two scores of the same candidates, and the regret of a ranking."""

import numpy as np

from .normalization import merge_equal


def order_agreement(a: np.ndarray, b: np.ndarray) -> dict[str, float]:
    """Return rank correlations of two scores of the same candidates.

    Parameters
    ----------
    a, b : ndarray of shape (n_candidates,)
        Scores; larger is better in both.

    Returns
    -------
    agreement : dict of str to float
        ``weighted_kendall_tau`` (with hyperbolic weights, which emphasise the top ranks),
        ``kendall_tau`` and ``spearman_rho``, in [-1, 1]. All are NaN if `a` or `b` is constant.
    """
    # Imported late: scipy.stats takes longer to import than the whole package.
    from scipy.stats import kendalltau, spearmanr, weightedtau

    a, b = merge_equal(a), merge_equal(b)
    if len(a) < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        taus = [np.nan] * 3
    else:
        taus = [f(a, b).statistic for f in (weightedtau, kendalltau, spearmanr)]
    names = ("weighted_kendall_tau", "kendall_tau", "spearman_rho")
    return dict(zip(names, map(float, taus), strict=True))


def regret(score: np.ndarray, accuracy: np.ndarray, n_tried: int) -> float:
    """Return the accuracy that is lost by fine-tuning only the `n_tried` best by score.

    Parameters
    ----------
    score : ndarray of shape (n_candidates,)
        Scores; larger is better.

    accuracy : ndarray of shape (n_candidates,)
        Accuracy of each candidate after fine-tuning.

    n_tried : int
        Number of candidates that are fine-tuned.

    Returns
    -------
    regret : float
        Best accuracy of all candidates minus the best accuracy of those that are tried.
    """
    tried = np.argsort(-score, kind="stable")[:n_tried]
    return float(accuracy.max() - accuracy[tried].max())
