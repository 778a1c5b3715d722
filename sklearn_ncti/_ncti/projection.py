"""Principal coordinates of labelled rows, fitted to all rows or to all but a fold."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from scipy.linalg import eigh
from sklearn.model_selection import check_cv

from .._linalg.moments import (
    ClassMoments,
    approximate_mean,
    class_moments,
    column_means,
    raw_moments,
    row_products,
)
from .._linalg.pca import PrincipalBasis, basis_of_scatter, principal_basis, working_dtype
from .._linalg.threads import one_blas_thread
from .._utils.arrays import to_device_of, to_host

# Smallest variance within the classes, relative to the largest variance, for which products in
# float32 are used. Their rounding errors are about 1e-9. Features of networks have about 1e-2.
_FLOAT32_RESOLUTION = 1e-4


@dataclass(frozen=True)
class Projection:
    """Principal coordinates of labelled rows, and the moments of their classes.

    Attributes
    ----------
    basis : PrincipalBasis
        Principal components of the features.

    H : array of shape (n_samples, k)
        Principal coordinates of the rows, on the device of the features.

    moments : ClassMoments
        Moments of the classes in these coordinates.
    """

    basis: PrincipalBasis
    H: Any
    moments: ClassMoments

    @property
    def is_resolved(self) -> bool:
        """Whether the products were exact enough for the variance within the classes."""
        if self.basis.dtype == np.float64:
            return True
        within = self.moments.within
        with one_blas_thread:
            least = eigh(within, subset_by_index=[0, 0], eigvals_only=True)[0]
        return bool(least > _FLOAT32_RESOLUTION * self.basis.variances[0])

    @classmethod
    def of(cls, X: Any, y: np.ndarray, n_classes: int, n_components: int) -> Self:
        """Project labelled features onto their principal components.

        Products of large float32 features are computed in float32 if this resolves the variance
        within the classes, and in float64 otherwise.

        Parameters
        ----------
        X : ndarray or tensor of shape (n_samples, n_features)
            Features.

        y : ndarray of shape (n_samples,)
            Class of each row, 0 to ``n_classes - 1``.

        n_classes : int
            Number of classes.

        n_components : int
            Number of principal components.

        Returns
        -------
        projection : Projection
            Rows in principal coordinates.
        """
        for dtype in dict.fromkeys((working_dtype(X, n_components), np.float64)):
            basis = principal_basis(X, n_components, dtype)
            H = basis.project(X)
            projection = cls(basis, H, class_moments(H, y, n_classes))
            if projection.is_resolved:
                break
        return projection


def held_out_projections(
    X: Any,
    y: np.ndarray,
    n_classes: int,
    folds: list[np.ndarray],
    n_components: int,
    dtype: type,
) -> Iterator[Projection]:
    """Yield, for every fold, the projection fitted to the rows of the other folds.

    The moments of the training rows are the moments of all rows minus those of the fold. The
    features are thus multiplied once, and not once for every fold.

    Parameters
    ----------
    X : ndarray or tensor of shape (n_samples, n_features)
        Features.

    y : ndarray of shape (n_samples,)
        Class of each row, 0 to ``n_classes - 1``.

    n_classes : int
        Number of classes.

    folds : list of ndarray of int
        Indices of the rows of each fold. Each row is in exactly one fold.

    n_components : int
        Number of principal components, or fewer if there are fewer training rows.

    dtype : {numpy.float32, numpy.float64}
        Type in which products of features are computed.

    Yields
    ------
    projection : Projection
        Coordinates of all rows, and moments of the training rows.
    """
    n, d = X.shape
    training_rows = [np.setdiff1d(np.arange(n), fold, assume_unique=True) for fold in folds]
    by_columns = min(map(len, training_rows)) >= d
    if by_columns:
        shift = approximate_mean(X, dtype)
        parts = [raw_moments(X, shift, dtype, rows=fold) for fold in folds]
        whole = sum(parts[1:], start=parts[0])
    else:
        products = row_products(X, dtype)[1]
    for i, rows in enumerate(training_rows):
        if by_columns:
            training = whole - parts[i]
            mean, scatter = shift + to_host(training.total) / training.n, training.scatter()
        else:
            mean, scatter = column_means(X, rows), _centered_twice(products, to_device_of(rows, X))
        k = min(n_components, len(rows), d)
        basis = basis_of_scatter(X, mean, scatter, k, dtype, rows)
        H = basis.project(X)
        yield Projection(basis, H, class_moments(H[to_device_of(rows, H)], y[rows], n_classes))


def _centered_twice(products: Any, rows: Any) -> Any:
    """Return the products of some rows with each other, centered at the mean of these rows."""
    chosen = products[rows][:, rows]
    means = chosen.mean(0)
    return chosen - means - means[:, None] + means.mean()


def held_out_folds(cv: Any, codes: np.ndarray, n_classes: int) -> list[np.ndarray]:
    """Return the indices of the rows that each split of `cv` holds out.

    Parameters
    ----------
    cv : int, cross-validation splitter or iterable of splits
        Cross-validation strategy. An integer is the number of stratified folds.

    codes : ndarray of shape (n_samples,)
        Class of each row, 0 to ``n_classes - 1``.

    n_classes : int
        Number of classes.

    Returns
    -------
    folds : list of ndarray of int
        Indices of the rows of each fold.

    Raises
    ------
    ValueError
        If not every row is held out exactly once, or a fold contains all rows of a class.
    """
    folds = [fold for _, fold in check_cv(cv, codes, classifier=True).split(codes, codes)]
    times = np.bincount(np.concatenate(folds), minlength=len(codes))
    if (times != 1).any():
        row = int(np.flatnonzero(times != 1)[0])
        raise ValueError(
            f"cv={cv!r} holds out row {row} {times[row]} times: every row must be held out "
            "exactly once. Use an integer, KFold or StratifiedKFold."
        )
    whole = np.bincount(codes, minlength=n_classes)
    for fold in folds:
        left = whole - np.bincount(codes[fold], minlength=n_classes)
        if not left.all():
            raise ValueError(
                f"cv={cv!r} holds out all {whole[left == 0][0]} row(s) of a class at once, and "
                "nothing is left to fit that class to. Use stratified folds, and at least 2 "
                "rows of every class."
            )
    return folds
