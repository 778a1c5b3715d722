"""Floor 3: what NCTIScorer and its components share: validation, projection, measurement."""

import warnings
from numbers import Integral, Real
from typing import Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import (
    BaseEstimator,
    ClassifierMixin,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    _fit_context,
)
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from ._discriminant import fit_discriminant, principal_basis
from ._nuclear import class_nuclear_norms, nuclear_norm, nuclear_norm_from_gram

#: The components in the order of the paper. Each is larger for the better features.
COMPONENTS = ("seli", "ncc", "vc")

#: Rows per (principal component + class) under which the discriminant overfits. At this
#: ratio pure noise of 64 features and 10 classes still gets ncc = 0.35 instead of 0.10
#: (benchmarks/overfitting.py).
COMFORTABLE_ROWS = 5


def encode_labels(y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the sorted classes and each row's index among them.

    Parameters
    ----------
    y : ndarray of shape (n_samples,)
        Class labels of any sortable type.

    Returns
    -------
    classes : ndarray of shape (n_classes,)
        The distinct labels.

    codes : ndarray of shape (n_samples,)
        Index of each label in `classes`.

    Raises
    ------
    ValueError
        If `y` is continuous or multi-label, or has fewer than two classes.
    """
    check_classification_targets(y)
    classes, codes = np.unique(y, return_inverse=True)
    if len(classes) < 2:
        raise ValueError(
            f"y has {len(classes)} class(es) {classes.tolist()}, but transferability is "
            "measured between classes: at least 2 are needed."
        )
    return classes, codes


class BaseNCTI(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """One projection of labelled features, and what is measured under it.

    A subclass names the components that it measures in `_measured`.
    """

    _parameter_constraints: dict = {
        "n_components": [Interval(Integral, 1, None, closed="left")],
        "shrinkage": [StrOptions({"adaptive"}), Interval(Real, 0, 1, closed="both")],
        "variant": [StrOptions({"released", "paper"})],
    }
    _measured: tuple[str, ...] = COMPONENTS

    def __init__(
        self,
        n_components: int = 64,
        *,
        shrinkage: str | float = "adaptive",
        variant: str = "released",
    ):
        self.n_components = n_components
        self.shrinkage = shrinkage
        self.variant = variant

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Fit the projection to labelled features and measure them under it.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features, one row per sample. float32 is kept, anything else becomes float64.

        y : array-like of shape (n_samples,)
            Class of each row: strings, integers or booleans.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError
            If `X` has NaN, infinity, fewer than two rows or only equal rows, or if `y` has
            another length than `X`, one class only, or is no vector of class labels.
        """
        X, y = validate_data(
            self, X, y, dtype=[np.float64, np.float32], ensure_min_samples=2, order="C"
        )
        self.classes_, codes = encode_labels(y)
        n, d = X.shape
        paper = self.variant == "paper"
        k = min(n, d) if paper else min(self.n_components, n, d)
        n_classes = len(self.classes_)
        basis = principal_basis(X, k)
        H = basis.project(X)
        self._discriminant = fit_discriminant(
            basis,
            H,
            codes,
            n_classes,
            shrinkage=None if self.shrinkage == "adaptive" else self.shrinkage,
            n_dims=d if paper else k,
        )
        self.n_components_ = k
        self.shrinkage_ = self._discriminant.shrinkage
        self.explained_variance_ratio_ = basis.variances / basis.total_variance
        if n < COMFORTABLE_ROWS * (k + n_classes):
            fewer = "use variant='released'" if paper else "lower n_components"
            warnings.warn(
                f"n = {n} rows are few for k = {k} components and C = {n_classes} classes: "
                f"below {COMFORTABLE_ROWS} (k + C) = {COMFORTABLE_ROWS * (k + n_classes)} rows "
                "the discriminant overfits and even noise can look well separated. Add rows, "
                f"{fewer}, or score rows that were not fitted with score(X, y).",
                UserWarning,
                stacklevel=2,
            )
        self._raw, self._absolute = self._measure(X, H, codes)
        for name, value in self._raw.items():
            setattr(self, f"{name}_", value)
        return self

    def _measure(self, X, H, codes):
        """Raw and absolute value of every component in `_measured`, as two dicts."""
        fitted = self._discriminant
        raw, absolute = {}, {}
        if "seli" in self._measured:
            if self.variant == "paper":
                raw["seli"] = nuclear_norm(X)
            else:
                # Z = H E has Z'Z = E' (H'H) E: as many rows and columns as there are axes.
                raw["seli"] = nuclear_norm_from_gram(fitted.axes.T @ (H.T @ H) @ fitted.axes)
            correlations = fitted.canonical_correlations(H, codes)
            absolute["seli"] = float(correlations.mean()) if len(correlations) else 0.0
        if {"ncc", "vc"} & set(self._measured):
            P = fitted.posterior(H)
        if "ncc" in self._measured:
            raw["ncc"] = absolute["ncc"] = float(P[np.arange(len(P)), codes].mean())
        if "vc" in self._measured:
            n_classes = len(self.classes_)
            counts = np.bincount(codes, minlength=n_classes)
            total = class_nuclear_norms(P, codes, n_classes).sum()
            raw["vc"] = -float(total if self.variant == "paper" else np.log(total))
            # A block of equal, uniform rows has the least norm that probabilities can have;
            # one whose rows spread evenly over all corners of the simplex has the largest.
            least = np.log(np.sqrt(counts / n_classes).sum())
            most = np.log(np.sqrt(counts * np.minimum(counts, n_classes)).sum())
            absolute["vc"] = float(1.0 - (np.log(total) - least) / (most - least))
        return raw, absolute

    def _measure_rows(self, X, y):
        """Raw and absolute components of the fitted rows (no arguments) or of others."""
        check_is_fitted(self)
        if X is None and y is None:
            return self._raw, self._absolute
        if X is None or y is None:
            missing = "X" if X is None else "y"
            raise ValueError(
                f"{missing} is None: pass both X and y to score other rows, or neither to get "
                "the score of the fitted rows."
            )
        X, y = validate_data(self, X, y, dtype=[np.float64, np.float32], reset=False, order="C")
        unknown = np.setdiff1d(y, self.classes_)
        if len(unknown):
            raise ValueError(
                f"y has labels that were not in the fitted y: {unknown[:5].tolist()}. Fit on "
                f"rows of all classes; the fitted ones are {self.classes_[:5].tolist()}"
                f"{'...' if len(self.classes_) > 5 else ''}."
            )
        codes = np.searchsorted(self.classes_, y)
        return self._measure(X, self._discriminant.basis.project(X), codes)

    def _project(self, X):
        """Principal coordinates of validated rows."""
        check_is_fitted(self)
        X = validate_data(self, X, dtype=[np.float64, np.float32], reset=False, order="C")
        return self._discriminant.basis.project(X)

    def _posterior(self, X):
        """Posterior probability of every class, of rows that are not validated yet."""
        H = self._project(X)
        return self._discriminant.posterior(H)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        return tags


class CoordinatesMixin(TransformerMixin):
    """Transforms features to discriminant coordinates."""

    def transform(self, X: ArrayLike) -> np.ndarray:
        """Discriminant coordinates, centred at the mean of the fitted rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features.

        Returns
        -------
        Z : ndarray of shape (n_samples, n_axes)
            Coordinates; at most ``n_classes - 1`` of them, the most discriminative first.
        """
        H = self._project(X)
        return H @ self._discriminant.axes

    @property
    def _n_features_out(self) -> int:
        return self._discriminant.axes.shape[1]


class PosteriorMixin(TransformerMixin):
    """Transforms features to the posterior of the discriminant."""

    def transform(self, X: ArrayLike) -> np.ndarray:
        """Posterior probability of every class.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features.

        Returns
        -------
        P : ndarray of shape (n_samples, n_classes)
            Probabilities, columns in the order of `classes_`.
        """
        return self._posterior(X)

    @property
    def _n_features_out(self) -> int:
        return len(self.classes_)


class PosteriorClassifierMixin(ClassifierMixin):
    """Decides by the posterior of the discriminant."""

    def predict_proba(self, X: ArrayLike) -> np.ndarray:
        """Posterior probability of every class.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features.

        Returns
        -------
        P : ndarray of shape (n_samples, n_classes)
            Probabilities, columns in the order of `classes_`.
        """
        return self._posterior(X)

    def predict(self, X: ArrayLike) -> np.ndarray:
        """Most probable class of every row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features.

        Returns
        -------
        y : ndarray of shape (n_samples,)
            Class labels.
        """
        P = self.predict_proba(X)
        return self.classes_[P.argmax(axis=1)]
