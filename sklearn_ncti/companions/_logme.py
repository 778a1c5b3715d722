"""LogME: evidence of a Bayesian linear model."""

import warnings
from numbers import Integral, Real
from typing import Any

import numpy as np
from scipy.linalg import eigh
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.multiclass import type_of_target

from .._linalg.moments import gram
from .._utils.stacklevel import find_stack_level
from .._utils.validation import encode_labels
from ._base import BaseCompanion, at_safe_scale, cross_products, one_hot

_EPS = np.finfo(np.float64).eps

# Initial values and bounds of the ratio alpha / beta, in units of the largest squared singular
# value. At the bounds, the evidence has reached its limit.
_STARTS = np.geomspace(1e-16, 1e6, 45)
_BOUNDS = np.array([1e-30, 1e30])


class LogME(BaseCompanion):
    r"""Log maximum evidence: log-likelihood of the labels under a Bayesian linear model.

    Each class is a column of zeros and ones, which is modelled as a linear function of the
    features with Gaussian noise and a Gaussian prior on the weights. The weights are integrated
    out, and the evidence is maximized over the precisions of prior and noise. The score is the
    mean of the log evidence over columns and rows. Because weights are integrated and not
    fitted, the score does not simply increase with the number of features. Larger is better.

    For real-valued targets, the columns of `y` replace those of the classes.

    Read more in the :ref:`User Guide <companions>`.

    Parameters
    ----------
    task : {"auto", "classification", "regression"}, default="auto"
        Type of the target. "auto" uses :func:`sklearn.utils.multiclass.type_of_target`:
        "binary" and "multiclass" are classification, "continuous" and
        "continuous-multioutput" are regression. Whole numbers count as labels. For ages or
        counts, and for several columns of whole numbers, use ``task="regression"``.

    max_iter : int, default=1000
        Maximal number of steps of the fixed-point iteration.

    tol : float, default=1e-9
        The iteration ends when a step changes the log evidence per row by at most this much.

    Attributes
    ----------
    score_ : float
        Mean log evidence per row; larger is better. It is not bounded, and 0 has no special
        meaning, because densities can exceed 1.

    alpha_ : ndarray of shape (n_columns,)
        Precision of the prior on the weights, for each class (in sorted order) or column.

    beta_ : ndarray of shape (n_columns,)
        Precision of the noise.

    task_ : {"classification", "regression"}
        Task that was used.

    n_iter_ : int
        Number of steps.

    n_features_in_ : int
        Number of features seen in `fit`.

    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features seen in `fit`. Defined only if all names are strings.

    Notes
    -----
    With :math:`A = \alpha I + \beta X^\top X` and :math:`m = \beta A^{-1} X^\top y`,

    .. math::

       \mathrm{LogME} = \tfrac1n \max_{\alpha, \beta} \Bigl[
       \tfrac n2 \log \beta + \tfrac d2 \log \alpha - \tfrac n2 \log 2\pi
       - \tfrac\beta2 \lVert X m - y \rVert^2 - \tfrac\alpha2 \lVert m \rVert^2
       - \tfrac12 \log \lvert A \rvert \Bigr],

    averaged over the columns. :math:`\lvert A \rvert` is a product of d eigenvalues. If
    :math:`n < d` or if features are constantly 0, some eigenvalues of :math:`X^\top X` are 0.
    The corresponding eigenvalues of A equal :math:`\alpha`, and cancel with
    :math:`\tfrac d2 \log \alpha`. The widely used public code omits them only in the
    determinant, which adds :math:`\tfrac{d - k}{2n} \log \alpha` for k non-zero eigenvalues.
    There, appending columns of zeros changes the score; here, it does not.

    The evidence can have several local maxima. The fixed-point iteration is that of the paper,
    but starts at the best of 45 ratios :math:`\alpha / \beta` instead of at 1. A start at 1 can
    end in a lower maximum, and in a different one after a rescaling of the features. No constant
    is added to the denominators. The score here does not depend on the scale of the features.
    As in the paper, the model has no intercept, and features are not centered.

    If the features determine the labels exactly, with fewer features than rows, the evidence is
    not bounded. The residual is then set to its rounding level, which gives a finite score of 17
    to 20 that real features do not reach.

    One step costs O(C min(n, d)). The setup costs O(n d min(n, d)) for the smaller Gram matrix,
    O(min(n, d)^3) for its eigenvectors, and O(n d) for the class sums.

    References
    ----------
    .. [1] You, Liu, Wang, Long. "LogME: Practical Assessment of Pre-trained Models for
       Transfer Learning". ICML 2021.
    .. [2] You, Liu, Zhang, Wang, Jordan, Long. "Ranking and Tuning Pre-trained Models: A New
       Paradigm for Exploiting Model Hubs". JMLR 2022.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes, load_iris
    >>> from sklearn_ncti.companions import LogME
    >>> X, y = load_iris(return_X_y=True)
    >>> round(LogME().fit(X, y).score(), 3)
    -0.16
    >>> round(LogME().fit(X[:, :2], y).score(), 3)
    -0.395

    Whole numbers that are not labels:

    >>> X, y = load_diabetes(return_X_y=True)
    >>> round(LogME(task="regression").fit(X, y).score(), 3)
    -6.524
    """

    _parameter_constraints: dict = {
        "task": [StrOptions({"auto", "classification", "regression"})],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
    }
    _validation = {"multi_output": True}

    def __init__(self, *, task: str = "auto", max_iter: int = 1000, tol: float = 1e-9):
        self.task = task
        self.max_iter = max_iter
        self.tol = tol

    def _measure_targets(self, X: np.ndarray, y: np.ndarray) -> dict[str, Any]:
        task = self._task_of(y)
        if task == "classification":
            classes, codes = encode_labels(y[:, 0] if y.ndim == 2 else y)
            Y = one_hot(codes, len(classes))
            squares = np.bincount(codes).astype(np.float64)
        else:
            Y = np.asarray(y, dtype=np.float64).reshape(len(X), -1)
            squares = np.einsum("ij,ij->j", Y, Y)
            if not squares.all():
                raise ValueError(
                    f"column {np.flatnonzero(squares == 0)[0]} of y is zero in all {len(X)} "
                    "rows, and the evidence of a constant zero has no bound. Drop that column."
                )
        X, exponent = at_safe_scale(X)
        eigenvalues, coordinates = _in_singular_basis(X, Y)
        evidence, alpha, beta, n_iter = self._maximize(
            len(X), eigenvalues, coordinates**2, squares
        )
        with np.errstate(over="ignore"):
            # If the features are multiplied by 2**exponent, the weights are divided by it.
            alpha = np.ldexp(alpha, -2 * exponent)
        return {
            "score_": float(evidence.mean()),
            "alpha_": alpha,
            "beta_": beta,
            "task_": task,
            "n_iter_": n_iter,
        }

    def _task_of(self, y: np.ndarray) -> str:
        """Return the task for `y`, or raise a ValueError if it is ambiguous."""
        kind = type_of_target(y, input_name="y", raise_unknown=True)
        columns = 1 if y.ndim == 1 else y.shape[1]
        if self.task == "regression":
            if np.asarray(y).dtype.kind not in "biuf":
                raise ValueError(
                    f"y has values of type {np.asarray(y).dtype}, which task='regression' "
                    "cannot regress on. Pass numbers, or task='classification'."
                )
            return "regression"
        if kind in ("binary", "multiclass") and columns == 1:
            return "classification"
        if kind.startswith("continuous") and self.task == "auto":
            return "regression"
        raise ValueError(
            f"y is of type {kind!r} with {columns} column(s), and task={self.task!r} takes one "
            "column of class labels"
            + (" or columns of real numbers" if self.task == "auto" else "")
            + ". Pass such a y, or task='regression' to regress on every column."
        )

    def _maximize(
        self, n: int, eigenvalues: np.ndarray, energies: np.ndarray, squares: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
        """Return the maximal log evidence per row of every column, alpha, beta, and n_iter.

        The evidence is a function of ``ratio = alpha / beta`` alone. The posterior mean depends
        only on the ratio, and for this mean the best noise precision is ``n / loss`` with
        ``loss = |Xm - y|^2 + ratio |m|^2``.

        Parameters
        ----------
        n : int
            Number of rows.

        eigenvalues : ndarray of shape (k,)
            Non-zero squared singular values of the features.

        energies : ndarray of shape (k, n_columns)
            Squared coordinates of the columns in the singular basis.

        squares : ndarray of shape (n_columns,)
            Squared norms of the columns.
        """
        k, columns = energies.shape
        rest = squares - energies.sum(axis=0)
        # Part of the columns outside the span of the features, 0 only for features of rank n.
        rest = np.zeros(columns) if k == n else np.maximum(rest, _EPS * squares)
        sigma = eigenvalues[:, None]

        def log_evidence(
            t: np.ndarray, energies: np.ndarray, rest: np.ndarray
        ) -> tuple[np.ndarray, np.ndarray]:
            noise = t / (sigma + t)
            loss = (noise * energies).sum(axis=0) + rest
            fit = np.log(2 * np.pi * loss / n) + 1
            return -0.5 * (fit + np.log1p(sigma / t).sum(axis=0) / n), noise

        # As the evidence can have several maxima, each column starts at the best grid point.
        starts = _STARTS * eigenvalues.max()
        values = np.array([log_evidence(t, energies, rest)[0] for t in starts])
        ratio = starts[values.argmax(axis=0)]
        best = np.full(columns, -np.inf)
        active = np.arange(columns)
        for n_iter in range(1, self.max_iter + 1):  # noqa: B007
            t, energy, left = ratio[active], energies[:, active], rest[active]
            evidence, noise = log_evidence(t, energy, left)
            moving = np.abs(evidence - best[active]) > self.tol
            best[active] = evidence
            active = active[moving]
            if not len(active):
                break
            # MacKay's updates of alpha and beta, combined to an update of their ratio.
            noise, energy, left, t = noise[:, moving], energy[:, moving], left[moving], t[moving]
            signal = sigma / (sigma + t)
            used, unused = signal.sum(axis=0), n - k + noise.sum(axis=0)
            squared_mean = (signal * noise * energy).sum(axis=0) / t
            squared_residual = (noise**2 * energy).sum(axis=0) + left
            with np.errstate(divide="ignore"):
                updated = used / squared_mean * (squared_residual / unused)
            ratio[active] = np.clip(updated, *_BOUNDS * eigenvalues.max())
        else:
            warnings.warn(
                f"the evidence of {len(active)} of {columns} columns of y still changes by "
                f"more than tol = {self.tol} after max_iter = {self.max_iter} steps. Raise "
                "max_iter or tol.",
                ConvergenceWarning,
                stacklevel=find_stack_level(),
            )
        beta = n / ((ratio / (sigma + ratio) * energies).sum(axis=0) + rest)
        return best, ratio * beta, beta, n_iter

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


def _in_singular_basis(X: np.ndarray, Y: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return the non-zero squared singular values of `X`, and ``U.T @ Y``."""
    n, d = X.shape
    second = gram(X)
    squares, vectors = eigh(second)
    # Smaller eigenvalues are rounding errors of 0.
    real = squares > max(n, d) * _EPS * squares[-1]
    squares, vectors = squares[real], vectors[:, real]
    if n < d:
        return squares, np.asarray((Y.T @ vectors).T)
    return squares, vectors.T @ cross_products(Y, X).T / np.sqrt(squares)[:, None]
