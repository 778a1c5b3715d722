"""Base classes of NCTIScorer and its components: validation, projection, measurement."""

import warnings
from functools import partial
from numbers import Integral, Real
from typing import Any, Self

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
from sklearn.utils.validation import check_consistent_length, check_is_fitted, validate_data

from .._linalg.moments import ClassMoments, check_finite, scatter_about
from .._linalg.nuclear import class_nuclear_norms, nuclear_norm, nuclear_norm_from_gram
from .._linalg.threads import fit_threads
from .._utils.arrays import (
    check_same_namespace,
    check_tensor,
    check_whole_numbers,
    like_input,
    stays_on_device,
    to_device_of,
    to_host,
    zeros_on_device_of,
)
from .._utils.components import Components
from .._utils.resampling import Draws
from .._utils.stacklevel import find_stack_level
from .._utils.validation import encode_labels, has_other_rows, label_array
from .batched import resampled_components
from .discriminant import (
    Discriminant,
    adaptive_shrinkage,
    canonical_correlations,
    fit_discriminant,
    scale_free_factor,
    scale_free_shrinkage,
)
from .leave_one_out import LeaveOneOut, held_out_seli, left_out_seli, resampled_left_out
from .projection import Projection, held_out_folds, held_out_projections
from .weighted import WeightedRows

#: Names of the components in the order of the paper. Larger is better for each.
COMPONENTS = ("seli", "ncc", "vc")

#: Number of rows per (principal component + class) below which the discriminant overfits. At this
#: ratio, pure noise of 64 features and 10 classes still has ncc = 0.35 instead of 0.10
#: (benchmarks/overfitting.py).
COMFORTABLE_ROWS = 5

_FLOATS = [np.float64, np.float32, np.float16]


def has_few_rows(n: int, n_components: int, n_classes: int) -> bool:
    """Return whether a discriminant overfits `n` rows."""
    return n < COMFORTABLE_ROWS * (n_components + n_classes)


def can_resample(scorer: Any) -> bool:
    """Return whether the rows of a scorer can be resampled in their principal coordinates."""
    return scorer.variant == "released" and (scorer.cv is None or leaves_one_out(scorer.cv))


def leaves_one_out(cv: Any) -> bool:
    """Return whether a value of `cv` stands for the exact leave-one-out."""
    return isinstance(cv, str) and cv == "loo"


class BaseNCTI(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """A projection of labelled features, and components that are measured under it.

    A subclass lists the components that it measures in `_measured`.
    """

    _parameter_constraints: dict = {
        "n_components": [Interval(Integral, 1, None, closed="left")],
        "shrinkage": [StrOptions({"adaptive", "scale-free"}), Interval(Real, 0, 1, closed="both")],
        "variant": [StrOptions({"released", "paper"})],
        "cv": ["cv_object", StrOptions({"loo"})],
    }
    _measured: tuple[str, ...] = COMPONENTS
    # What helps where the rows are few, in the warning of `fit`.
    _advice = "Measure rows that were not fitted with cv=5, add rows,"

    #: Output of a network that is measured, see :class:`~sklearn_ncti.FeatureScorer`.
    response = "features"

    def __init__(
        self,
        n_components: int = 64,
        *,
        shrinkage: str | float = "adaptive",
        variant: str = "released",
        cv: Any = None,
    ) -> None:
        self.n_components = n_components
        self.shrinkage = shrinkage
        self.variant = variant
        self.cv = cv

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Fit the projection to labelled features, and measure the features under it.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features, one row per sample: an array, a memory-mapped array, a DataFrame, or a
            torch tensor. Tensors on a CUDA device are scored there. Floating types of 16 and
            32 bits are not converted; other types become float64.

        y : array-like of shape (n_samples,)
            Class of each row: strings, integers or booleans.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError
            If `X` contains NaN or infinity, has fewer than two rows or only equal rows, values
            whose squares exceed the range of float64, or whole numbers that float64 rounds. If
            `y` has another length than `X`, only one class, a missing label, or is not a vector
            of class labels. With `cv`, if not every row is held out exactly once, or if a class
            has no training rows.

        TypeError
            If labels cannot be sorted.
        """
        rows, labels = self._validate(X, y, reset=True)
        classes, codes = encode_labels(labels)
        self.classes_ = like_input(classes, y)
        n, d = rows.shape
        paper = self.variant == "paper"
        k = min(n, d) if paper else min(self.n_components, n, d)
        n_classes = len(classes)
        with fit_threads(n, d):
            projection = Projection.of(rows, codes, n_classes, k)
            self._discriminant = self._fit_discriminant(projection)
            if self.cv is None:
                self._components = self._measure(rows, projection.H, codes, projection.moments)
            elif leaves_one_out(self.cv):
                self._components = self._measure_left_out(rows, codes, projection)
            else:
                self._components = self._measure_held_out(rows, codes, projection)
        # Stored for `resample`. The k coordinates of a row are few compared with its features.
        self._projection = (projection, codes) if can_resample(self) else None
        self.n_components_ = k
        self.shrinkage_ = self._discriminant.shrinkage
        ratio = projection.basis.variances / projection.basis.total_variance
        self.explained_variance_ratio_ = like_input(ratio, X)
        for name, value in self._components.raw.items():
            setattr(self, f"{name}_", value)
        self.notes_ = []
        if self.cv is None and has_few_rows(n, k, n_classes):
            fewer = "use variant='released'" if paper else "lower n_components"
            self.notes_.append(
                f"n = {n} rows are few for k = {k} components and C = {n_classes} classes: "
                f"below {COMFORTABLE_ROWS} (k + C) = {COMFORTABLE_ROWS * (k + n_classes)} rows "
                "the discriminant overfits and even noise can look well separated. "
                f"{self._advice} or {fewer}."
            )
            warnings.warn(self.notes_[0], UserWarning, stacklevel=find_stack_level())
        return self

    def _fit_discriminant(self, projection: Projection) -> Discriminant:
        """Return the discriminant of a projection for the parameters of this estimator."""
        paper = self.variant == "paper"
        k = projection.basis.axes.shape[1]
        if self.shrinkage == "adaptive":
            share = adaptive_shrinkage(projection.basis.variances)
        elif self.shrinkage == "scale-free":
            share = scale_free_shrinkage(projection.basis)
        else:
            share = float(self.shrinkage)
        return fit_discriminant(
            projection.basis,
            projection.moments,
            shrinkage=share,
            n_dims=self.n_features_in_ if paper else k,
        )

    def _measure(
        self, X: Any, H: Any, codes: np.ndarray, moments: ClassMoments | None = None
    ) -> Components:
        """Return the components of rows under the fitted projection.

        `moments` are the moments of the rows about the fitted means. If None, they are computed.
        """
        fitted = self._discriminant
        seli = posterior = None
        if "seli" in self._measured:
            if moments is None:
                within, total = scatter_about(H, fitted.centers, codes), scatter_about(H)
            else:
                within, total = moments.within, moments.total
            # Z = H E has the Gram matrix Z'Z = E' (H'H) E, whose size is the number of axes.
            products = len(H) * fitted.axes.T @ total @ fitted.axes
            seli = nuclear_norm_from_gram(products), fitted.variances_of(within, total)
        if {"ncc", "vc"} & set(self._measured):
            posterior = fitted.posterior_by_class(H, codes)
        return self._combine(X, codes, seli, posterior)

    def _measure_held_out(self, X: Any, codes: np.ndarray, projection: Projection) -> Components:
        """Return the components, with every row measured under axes fitted without it."""
        n, k = projection.H.shape
        n_classes = len(projection.moments.counts)
        folds = held_out_folds(self.cv, codes, n_classes)
        # The last column is the index of the discriminant that measures a row.
        held_out = zeros_on_device_of((n, k + 1), X)
        discriminants, sums = [], np.zeros((3, min(k, n_classes - 1)))
        projections = held_out_projections(X, codes, n_classes, folds, k, projection.basis.dtype)
        for i, (fold, of_training) in enumerate(zip(folds, projections, strict=True)):
            fitted = self._fit_discriminant(of_training)
            rows = to_device_of(fold, X)
            H = of_training.H[rows]
            held_out[rows, : H.shape[1]] = H
            held_out[rows, k] = float(i)
            if "seli" in self._measured:
                _add_variances(sums, fitted, H, codes[fold])
            discriminants.append(fitted)

        def posterior(rows: Any) -> Any:
            P = zeros_on_device_of((len(rows), n_classes), rows)
            for i, fitted in enumerate(discriminants):
                chosen = rows[:, k] == i
                P[chosen] = fitted.posterior(rows[chosen][:, : len(fitted.axes)])
            return P

        blocks = class_nuclear_norms(posterior, held_out, codes, n_classes, n_classes)
        return self._combine(X, codes, held_out_seli(sums, n), blocks)

    def _measure_left_out(self, X: Any, codes: np.ndarray, projection: Projection) -> Components:
        """Return the components of an exact leave-one-out, and set its accuracy.

        The posterior of a row does not see that row. SELI is measured on folds, in the principal
        coordinates of all rows.
        """
        n, k = projection.H.shape
        n_classes = len(projection.moments.counts)
        left_out = LeaveOneOut.of(self._discriminant, projection.moments)
        # The last columns are the class of a row and its position.
        rows = zeros_on_device_of((n, k + 2), X)
        rows[:, :k] = projection.H
        rows[:, k] = to_device_of(codes.astype(float), X)
        rows[:, k + 1] = to_device_of(np.arange(float(n)), X)
        is_right = np.zeros(n, dtype=bool)

        def posterior(part: Any) -> Any:
            own, place = to_host(part[:, k:]).T.astype(int)
            P = left_out.posterior(part[:, :k], own)
            is_right[place] = to_host(P.argmax(1)) == own
            return P

        blocks = class_nuclear_norms(posterior, rows, codes, n_classes, n_classes)
        self.loo_accuracy_ = float(is_right.mean())
        seli = None
        if "seli" in self._measured:
            sorted_rows = WeightedRows.of(projection, codes)
            seli = left_out_seli(sorted_rows, np.ones(n), self._discriminant)
        return self._combine(X, codes, seli, blocks)

    def _combine(self, X: Any, codes: np.ndarray, seli: Any, posterior: Any) -> Components:
        """Return the components in `_measured`.

        `seli` is the nuclear norm of the coordinates and the variances along the axes,
        `posterior` the result of `class_nuclear_norms`. Each may be None if it is not needed.
        """
        n_classes = len(self._discriminant.centers)
        raw, absolute = {}, {}
        if "seli" in self._measured:
            norm, (within, total, _) = seli
            raw["seli"] = self._norm_of_features(X) if self.variant == "paper" else norm
            correlations = canonical_correlations(within, total)
            absolute["seli"] = float(correlations.mean()) if len(correlations) else 0.0
        if "ncc" in self._measured:
            raw["ncc"] = absolute["ncc"] = float(posterior[1].sum() / len(codes))
        if "vc" in self._measured:
            counts = np.bincount(codes, minlength=n_classes)
            total = posterior[0].sum()
            raw["vc"] = -float(total if self.variant == "paper" else np.log(total))
            # Of all blocks of probabilities, one of equal, uniform rows has the smallest norm.
            # One whose rows are spread evenly over all corners of the simplex has the largest.
            lowest = np.log(np.sqrt(counts / n_classes).sum())
            highest = np.log(np.sqrt(counts * np.minimum(counts, n_classes)).sum())
            absolute["vc"] = float(1.0 - (np.log(total) - lowest) / (highest - lowest))
        return Components(raw, absolute)

    def _norm_of_features(self, X: Any) -> float:
        """Nuclear norm of features, of one total variance under scale-free shrinkage."""
        free = self.shrinkage == "scale-free"
        return nuclear_norm(X) * (scale_free_factor(self._discriminant.basis) if free else 1.0)

    def _validate(self, X: Any, y: Any = "no_validation", *, reset: bool = False) -> Any:
        """Return the rows as an array or a tensor on its device, and labels as an array.

        Without `y`, only the rows are returned.
        """
        min_rows = 2 if reset else 1
        if stays_on_device(X):
            validate_data(self, X, reset=reset, skip_check_array=True)
            X = check_tensor(X, min_rows)
            if isinstance(y, str):
                return X
            y = validate_data(self, y=label_array(y))
            check_consistent_length(X, y)
            return X, y
        X = to_host(X)
        check_whole_numbers(X)
        # Features are checked for NaN later, when they are read chunk by chunk.
        return validate_data(
            self,
            X,
            label_array(y),
            dtype=_FLOATS,
            reset=reset,
            ensure_min_samples=min_rows,
            ensure_all_finite=False,
        )

    def _components_of(self, X: Any, y: Any) -> Components:
        """Return the components of the fitted rows (X and y None) or of other rows."""
        check_is_fitted(self)
        if not has_other_rows(X, y):
            return self._components
        X, y = self._validate(X, y)
        classes = to_host(self.classes_)
        unknown = np.setdiff1d(y, classes)
        if len(unknown):
            raise ValueError(
                f"y has labels that were not in the fitted y: {unknown[:5].tolist()}. Fit on "
                f"rows of all classes; the fitted ones are {classes[:5].tolist()}"
                f"{'...' if len(classes) > 5 else ''}."
            )
        return self._measure(X, self._project(X), np.searchsorted(classes, y))

    def _resample(self, draws: Draws) -> Components:
        """Return the components of every resample of the fitted rows."""
        check_is_fitted(self)
        if self._projection is None:
            raise ValueError(
                f"{type(self).__name__} can resample the rows that it was fitted to, but it was "
                "fitted with another variant or cv, or loaded from a file. Fit it again."
            )
        projection, codes = self._projection
        components_of = partial(self._combine, None, codes)
        if leaves_one_out(self.cv):
            return resampled_left_out(
                projection, self._discriminant, draws, components_of, self._measured
            )
        return resampled_components(projection, self._discriminant, draws, components_of)

    def __getstate__(self) -> dict[str, Any]:
        state = dict(super().__getstate__())
        if "_projection" in state:
            # Rows of the training data do not belong in a pickled estimator.
            state["_projection"] = None
        return state

    def _project(self, X: Any) -> Any:
        """Return the principal coordinates of validated rows."""
        H = self._discriminant.basis.project(X)
        with np.errstate(over="ignore", invalid="ignore"):
            size = float((H * H).sum())
        if not np.isfinite(size):
            check_finite(X)
        return H

    def _validate_and_project(self, X: Any, method: str) -> Any:
        """Return the principal coordinates of rows that a user passed to `method`."""
        check_is_fitted(self)
        check_same_namespace(X, self, attribute="explained_variance_ratio_", method=method)
        return self._project(self._validate(X))

    def _posterior(self, X: Any, method: str) -> Any:
        """Return the posterior probabilities of rows that a user passed to `method`."""
        H = self._validate_and_project(X, method)
        return self._discriminant.posterior(H)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        tags.array_api_support = True
        return tags


def _add_variances(sums: np.ndarray, fitted: Discriminant, H: Any, codes: np.ndarray) -> None:
    """Add the variances of held-out rows along the axes of a discriminant."""
    within = scatter_about(H, fitted.centers, codes)
    variances = fitted.variances_of(within, scatter_about(H))
    sums[:, : variances.shape[1]] += len(codes) * variances


class CoordinatesMixin(TransformerMixin):
    """Mixin of estimators that transform features to discriminant coordinates."""

    def transform(self, X: ArrayLike) -> np.ndarray:
        """Return discriminant coordinates, centered at the mean of the fitted rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features.

        Returns
        -------
        Z : ndarray of shape (n_samples, n_axes)
            At most ``n_classes - 1`` coordinates, the most discriminative first.
        """
        H = self._validate_and_project(X, "transform")
        return like_input(H @ to_device_of(self._discriminant.axes, H), X)

    @property
    def _n_features_out(self) -> int:
        return self._discriminant.axes.shape[1]


class PosteriorMixin(TransformerMixin):
    """Mixin of estimators that transform features to the posterior of the discriminant."""

    def transform(self, X: ArrayLike) -> np.ndarray:
        """Return the posterior probability of every class.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features.

        Returns
        -------
        P : ndarray of shape (n_samples, n_classes)
            Posterior probabilities, with columns in the order of `classes_`.
        """
        return like_input(self._posterior(X, "transform"), X)

    @property
    def _n_features_out(self) -> int:
        return len(self._discriminant.centers)


class PosteriorClassifierMixin(ClassifierMixin):
    """Mixin of classifiers that predict by the posterior of the discriminant."""

    def predict_proba(self, X: ArrayLike) -> np.ndarray:
        """Return the posterior probability of every class.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features.

        Returns
        -------
        P : ndarray of shape (n_samples, n_classes)
            Posterior probabilities, with columns in the order of `classes_`.
        """
        return like_input(self._posterior(X, "predict_proba"), X)

    def predict(self, X: ArrayLike) -> np.ndarray:
        """Return the most probable class of every row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features.

        Returns
        -------
        y : ndarray of shape (n_samples,)
            Predicted class labels.
        """
        codes = to_host(self._posterior(X, "predict").argmax(1))
        return like_input(to_host(self.classes_)[codes], X)
