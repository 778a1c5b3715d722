"""Components by scikit-learn's PCA and LDA, and LEEP by its table, to compare with."""

import numpy as np
import sklearn
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.utils.fixes import parse_version

# Until 1.8 the within-class scatter of solver="svd" was divided by n - C, since then by n.
_DIVIDES_BY_N = parse_version(sklearn.__version__) >= parse_version("1.9")


def plain_components(X, y, n_components=64, shrinkage=None):
    """SELI, NCC, VC, shrinkage and the posterior of the released recipe."""
    n, d = X.shape
    k = min(n_components, n, d)
    pca = PCA(n_components=k, svd_solver="full").fit(X)
    H, variances = pca.transform(X), pca.explained_variance_
    t = max(np.exp(-variances[:32].sum()), 1e-10) if shrinkage is None else shrinkage
    if t > 1e-10:
        lda = LinearDiscriminantAnalysis(solver="eigen", shrinkage=t).fit(H, y)
        n_axes = min(len(lda.classes_) - 1, k)
        Z = H @ lda.scalings_[:, :n_axes]
        P = lda.predict_proba(H)
    else:
        H = H[:, variances > max(n, d) * np.finfo(float).eps * variances[0]]
        Z, P = _svd_solver(H, y)
    Z = Z - Z.mean(axis=0)
    codes = np.searchsorted(np.unique(y), y)
    norms = [np.linalg.norm(P[codes == c], "nuc") for c in np.unique(codes)]
    return {
        "seli": np.linalg.norm(Z, "nuc"),
        "ncc": P[np.arange(n), codes].mean(),
        "vc": -np.log(np.sum(norms)),
        "shrinkage": t,
    }, P


def _svd_solver(H, y):
    lda = LinearDiscriminantAnalysis(solver="svd").fit(H, y)
    if _DIVIDES_BY_N:
        return lda.transform(H), lda.predict_proba(H)
    # W of the older releases is n / (n - C) times ours: coordinates shrink by the root of
    # it, log-likelihoods by the whole of it.
    factor = len(H) / (len(H) - len(lda.classes_))
    centers = (lda.means_ - lda.xbar_) @ lda.scalings_
    Z = (H - lda.xbar_) @ lda.scalings_
    logits = factor * (Z @ centers.T - 0.5 * (centers**2).sum(axis=1)) + np.log(lda.priors_)
    P = np.exp(logits - logits.max(axis=1, keepdims=True))
    n_axes = len(lda.classes_) - 1
    return np.sqrt(factor) * Z[:, :n_axes], P / P.sum(axis=1, keepdims=True)


def leep_by_tables(P, y):
    """Return LEEP from the explicit joint table of source classes and labels."""
    joint = np.array([P[y == label].sum(axis=0) for label in np.unique(y)]) / len(y)
    predictions = P @ (joint / joint.sum(axis=0)).T
    return np.log(predictions[np.arange(len(y)), y]).mean()
