"""LogME, the evidence of a Bayesian linear model."""

import warnings
from numbers import Integral, Real

import numpy as np
from scipy.linalg import eigh
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.multiclass import type_of_target

from .._linalg.moments import gram
from .._utils.validation import encode_labels
from ._base import BaseCompanion, at_safe_scale, cross_products, one_hot

_EPS = np.finfo(np.float64).eps

# Ratios alpha / beta, in units of the largest squared singular value, from which the
# iteration may start, and outside of which it does not go: the evidence has its limit there.
_STARTS = np.geomspace(1e-16, 1e6, 45)
_BOUNDS = np.array([1e-30, 1e30])


class LogME(BaseCompanion):
    r"""Log maximum evidence: how probable the labels are under a Bayesian linear model.

    Each class is a column of zeros and ones that a linear model of the features is to give,
    with a Gaussian prior on its weights and Gaussian noise. The evidence of a column, with the
    weights integrated out, is maximised over the precisions of both; the score is the mean of
    its logarithm over columns and rows. Integrating instead of fitting is what keeps the score
    from growing with the number of features. Larger is better.

    Real-valued targets work in the same way: their columns take the place of the classes.

    Read more in the :ref:`User Guide <companions>`.

    Parameters
    ----------
    task : {"auto", "classification", "regression"}, default="auto"
        "auto" goes by :func:`sklearn.utils.multiclass.type_of_target`: "binary" and
        "multiclass" are labels; "continuous" and "continuous-multioutput" are values to
        regress on. Whole numbers count as labels, so that ages or counts need
        ``task="regression"``, and so does `y` with several columns of whole numbers.

    max_iter : int, default=1000
        Most steps of the fixed-point iteration.

    tol : float, default=1e-9
        The iteration ends where a step changes the log evidence per row by no more.

    Attributes
    ----------
    score_ : float
        Mean log evidence per row; larger is better. It has no bound, and its zero means
        nothing: densities can exceed 1.

    alpha_ : ndarray of shape (n_columns,)
        Precision of the prior on the weights, for each class (in sorted order) or column.

    beta_ : ndarray of shape (n_columns,)
        Precision of the noise.

    task_ : {"classification", "regression"}
        What `y` was taken for.

    n_iter_ : int
        Steps that were taken.

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

    averaged over the columns. :math:`\lvert A \rvert` is a product over all d eigenvalues.
    Those that vanish, because :math:`n < d` or because features are dead, are :math:`\alpha`
    each and cancel against :math:`\tfrac d2 \log \alpha`. The widespread public code leaves
    them out of the determinant alone and so adds :math:`\tfrac{d - k}{2n} \log \alpha` for k
    that do not vanish: there, appending columns of zeros changes the score; here it does not.

    The evidence can have several local maxima. The fixed point is that of the paper, but
    it starts at the best of 45 ratios :math:`\alpha / \beta` instead of at 1, from where it may
    end in a lesser one, and in another one when the features are rescaled; nor is a constant
    added to the denominators. The score here does not depend on the scale of the features.
    The model has no intercept, as in the paper: features are not centred.

    Where the features give the labels exactly, with fewer features than rows, the evidence
    has no bound. The residual is then taken at its rounding level, which leaves a finite score
    of 17 to 20 that no real features reach.

    One step costs O(C min(n, d)); before, O(n d min(n, d)) for the second moments of the
    smaller side, O(min(n, d)^3) for their eigenvectors, and O(n d) for the class sums.

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

    Whole numbers that are no labels:

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

    def _measure_targets(self, X, y):
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
            # Weights of 2**exponent times the features are so many times smaller.
            alpha = np.ldexp(alpha, -2 * exponent)
        return {
            "score_": float(evidence.mean()),
            "alpha_": alpha,
            "beta_": beta,
            "task_": task,
            "n_iter_": n_iter,
        }

    def _task_of(self, y):
        """What `y` is taken for; an error where that would be a guess."""
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

    def _maximize(self, n, eigenvalues, energies, squares):
        """Maximum log evidence per row of every column, and where it is reached.

        Everything is a function of ``ratio = alpha / beta``: the posterior mean depends on
        nothing else, and given it the best noise precision is ``n / loss`` with
        ``loss = |Xm - y|^2 + ratio |m|^2``.
        """
        k, columns = energies.shape
        rest = squares - energies.sum(axis=0)
        # What the features do not reach. Exactly zero only where they have full rank n.
        rest = np.zeros(columns) if k == n else np.maximum(rest, _EPS * squares)
        sigma = eigenvalues[:, None]

        def log_evidence(t, energies, rest):
            noise = t / (sigma + t)
            loss = (noise * energies).sum(axis=0) + rest
            fit = np.log(2 * np.pi * loss / n) + 1
            return -0.5 * (fit + np.log1p(sigma / t).sum(axis=0) / n), noise

        # The evidence can have several maxima: each column starts at the best of a coarse grid.
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
            # MacKay's updates of alpha and beta, as one of their ratio.
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
                stacklevel=6,
            )
        beta = n / ((ratio / (sigma + ratio) * energies).sum(axis=0) + rest)
        return best, ratio * beta, beta, n_iter

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


def _in_singular_basis(X, Y):
    """Squared singular values of `X` that do not vanish, and ``U.T @ Y``."""
    n, d = X.shape
    second = gram(X)
    squares, vectors = eigh(second)
    # Below this, an eigenvalue is what rounding left of zero.
    real = squares > max(n, d) * _EPS * squares[-1]
    squares, vectors = squares[real], vectors[:, real]
    if n < d:
        return squares, np.asarray((Y.T @ vectors).T)
    return squares, vectors.T @ cross_products(Y, X).T / np.sqrt(squares)[:, None]
