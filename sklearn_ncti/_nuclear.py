"""Floor 1: nuclear norms (sums of singular values), of a matrix, by class, and of a scatter."""

import numpy as np
from scipy.linalg import eigvalsh

from ._moments import gram


def nuclear_norm(X: np.ndarray) -> float:
    """Nuclear norm of a large matrix, through the eigenvalues of its smaller Gram matrix."""
    return nuclear_norm_from_gram(gram(X))


def nuclear_norm_from_gram(gram: np.ndarray) -> float:
    """Nuclear norm of any A with ``A.T @ A`` = `gram`: the sum of the eigenvalues' roots."""
    # Rounding can leave an eigenvalue of a positive semidefinite matrix slightly below zero.
    return float(np.sqrt(np.clip(eigvalsh(gram), 0.0, None)).sum())


def class_nuclear_norms(P: np.ndarray, y: np.ndarray, n_classes: int) -> np.ndarray:
    """Nuclear norm of the rows of each class.

    The singular values of each block are taken directly: its Gram matrix would have the
    number of classes on a side, which is the dearer of the two where a class has few rows,
    and would lose half of the digits.

    Parameters
    ----------
    P : ndarray of shape (n_samples, n_columns)
        Rows, for example posterior probabilities.

    y : ndarray of shape (n_samples,)
        Class of each row, 0 to ``n_classes - 1``.

    n_classes : int
        Number of classes.

    Returns
    -------
    norms : ndarray of shape (n_classes,)
        Zero for a class without rows.
    """
    order = np.argsort(y, kind="stable")
    bounds = np.cumsum(np.bincount(y, minlength=n_classes))[:-1]
    blocks = np.split(order, bounds)
    return np.array(
        [np.linalg.svd(P[rows], compute_uv=False).sum() if len(rows) else 0.0 for rows in blocks]
    )
