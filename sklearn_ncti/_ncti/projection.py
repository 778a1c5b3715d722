"""Labelled rows in their principal coordinates: of all rows, or of all but a fold."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from scipy.linalg import eigh
from sklearn.model_selection import check_cv

from .._linalg.moments import (
    ClassMoments,
    class_moments,
    column_means,
    first_guess,
    raw_moments,
    row_products,
)
from .._linalg.pca import PrincipalBasis, basis_of_scatter, principal_basis, working_dtype
from .._linalg.threads import one_blas_thread
from .._utils.arrays import to_device_of, to_host

# Least variance within the classes, relative to the largest variance, that float32 products
# are trusted with: their rounding leaves some 1e-9 of it. Networks have about 1e-2.
_FLOAT32_RESOLUTION = 1e-4


@dataclass(frozen=True)
class Projection:
    """Labelled rows in their principal coordinates, and the moments of their classes.

    Attributes
    ----------
    basis : PrincipalBasis
        From features to principal coordinates.

    H : array of shape (n_samples, k)
        Principal coordinates of the rows, where the features lie.

    moments : ClassMoments
        Moments of the classes in these coordinates.
    """

    basis: PrincipalBasis
    H: Any
    moments: ClassMoments

    @property
    def is_resolved(self) -> bool:
        """Whether the products were exact enough for what is left within the classes."""
        if self.basis.dtype == np.float64:
            return True
        within = self.moments.within
        with one_blas_thread:
            least = eigh(within, subset_by_index=[0, 0], eigvals_only=True)[0]
        return bool(least > _FLOAT32_RESOLUTION * self.basis.variances[0])

    @classmethod
    def of(cls, X: Any, y: np.ndarray, n_classes: int, n_components: int) -> Self:
        """Project labelled features on their principal components.

        Large float32 features are worked with in float32 where that resolves the spread
        within the classes, and in float64 where it does not.

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
            The rows in principal coordinates.
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
    """Yield for every fold the projection that is fitted to the rows of the others.

    The moments of what is left without a fold are the difference of the moments of all rows
    and of those of the fold: the features are squared once, not once for every fold.

    Parameters
    ----------
    X : ndarray or tensor of shape (n_samples, n_features)
        Features.

    y : ndarray of shape (n_samples,)
        Class of each row, 0 to ``n_classes - 1``.

    n_classes : int
        Number of classes.

    folds : list of ndarray of int
        Rows of each fold; each row is in one of them.

    n_components : int
        Number of principal components, as far as the rows of the other folds allow.

    dtype : {numpy.float32, numpy.float64}
        Type in which products of features are taken.

    Yields
    ------
    projection : Projection
        With the coordinates of all rows, and the moments of the other folds.
    """
    n, d = X.shape
    others = [np.setdiff1d(np.arange(n), fold, assume_unique=True) for fold in folds]
    by_columns = min(map(len, others)) >= d
    if by_columns:
        shift = first_guess(X, dtype)
        parts = [raw_moments(X, shift, dtype, rows=fold) for fold in folds]
        whole = sum(parts[1:], start=parts[0])
    else:
        products = row_products(X, dtype)[1]
    for i, rows in enumerate(others):
        if by_columns:
            rest = whole - parts[i]
            mean, scatter = shift + to_host(rest.total) / rest.n, rest.scatter()
        else:
            mean, scatter = column_means(X, rows), _centered_twice(products, to_device_of(rows, X))
        k = min(n_components, len(rows), d)
        basis = basis_of_scatter(X, mean, scatter, k, dtype, rows)
        H = basis.project(X)
        yield Projection(basis, H, class_moments(H[to_device_of(rows, H)], y[rows], n_classes))


def _centered_twice(products: Any, rows: Any) -> Any:
    """Products of some of the rows with each other, about the mean of these rows."""
    chosen = products[rows][:, rows]
    means = chosen.mean(0)
    return chosen - means - means[:, None] + means.mean()


def held_out_folds(cv, codes: np.ndarray, n_classes: int) -> list[np.ndarray]:
    """Return the rows that each split of `cv` holds out.

    Parameters
    ----------
    cv : int, cross-validation splitter or iterable of splits
        An integer stands for that many stratified folds.

    codes : ndarray of shape (n_samples,)
        Class of each row, 0 to ``n_classes - 1``.

    n_classes : int
        Number of classes.

    Returns
    -------
    folds : list of ndarray of int
        The rows of each fold.

    Raises
    ------
    ValueError
        If not every row is held out exactly once, or a fold has all rows of a class.
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
