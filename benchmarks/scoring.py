"""Time NCTIScorer against the plain recipe: scikit-learn's PCA and LDA, then full nuclear norms.

Both sides score the same synthetic features in one process and take turns, so that a busy
machine slows both. What counts is the ratio of the medians; the seconds belong to the machine.
"""

import argparse
import itertools
import json
import platform
import time
import warnings
from pathlib import Path
from statistics import median

import numpy as np
import scipy
import sklearn
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from sklearn_ncti import NCTIScorer

GRID = {"n": [500, 2000, 10000], "d": [64, 384, 1024], "classes": [10, 100]}
QUICK = {"n": [500, 2000], "d": [64, 384], "classes": [10]}

KEYS = ("n", "d", "classes", "branch", "dtype")

# Standard deviation of the leading feature on either branch of the shrinkage rule: the
# variances of the small one add up to about 1, those of the large one to about 100.
SCALES = {"shrunk": 0.5, "unshrunk": 5.0}


def make_features(n, d, n_classes, branch, dtype, seed=0):
    """Gaussian classes whose principal variances fall by a power law, as those of networks do."""
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.arange(n) % n_classes)
    deviations = SCALES[branch] * np.arange(1, d + 1) ** -0.5
    centers = 0.5 * rng.normal(size=(n_classes, d))
    X = (centers[y] + rng.normal(size=(n, d))) * deviations + 1.0
    return X.astype(dtype), y


def plain_recipe(X, y, n_components=64):
    """Return the released components, as one would write them with scikit-learn alone."""
    n, d = X.shape
    k = min(n_components, n, d)
    pca = PCA(n_components=k, svd_solver="covariance_eigh")
    H = pca.fit_transform(X)
    t = max(float(np.exp(-pca.explained_variance_[:32].sum())), 1e-10)
    if t > 1e-10:
        lda = LinearDiscriminantAnalysis(solver="eigen", shrinkage=t)
    else:
        lda = LinearDiscriminantAnalysis(solver="svd")
    Z = lda.fit(H, y).transform(H)[:, : min(len(np.unique(y)) - 1, k)]
    P = lda.predict_proba(H)
    norms = [np.linalg.norm(P[y == c], "nuc") for c in np.unique(y)]
    return {
        "seli": float(np.linalg.norm(Z - Z.mean(axis=0), "nuc")),
        "ncc": float(P[np.arange(n), np.searchsorted(lda.classes_, y)].mean()),
        "vc": -float(np.log(np.sum(norms))),
    }


def package(X, y):
    """Return the same components from the package."""
    return NCTIScorer().fit(X, y).components_


def timed(function, X, y):
    """Result of one call, and its seconds."""
    start = time.perf_counter()
    result = function(X, y)
    return result, time.perf_counter() - start


def run_case(n, d, n_classes, branch, dtype, repeat):
    """Medians of both sides on one set of features, and how far their results differ."""
    X, y = make_features(n, d, n_classes, branch, dtype)
    # Once without the clock: threads of BLAS start, and memory is there.
    ours, plain = package(X, y), plain_recipe(X, y)
    seconds = {package: [], plain_recipe: []}
    for turn in range(repeat):
        for function in (package, plain_recipe) if turn % 2 else (plain_recipe, package):
            seconds[function].append(timed(function, X, y)[1])
    ours_s, plain_s = median(seconds[package]), median(seconds[plain_recipe])
    return {
        "n": n,
        "d": d,
        "classes": n_classes,
        "branch": branch,
        "dtype": dtype,
        "plain_s": plain_s,
        "package_s": ours_s,
        "ratio": plain_s / ours_s,
        "difference": max(abs(ours[name] / plain[name] - 1.0) for name in plain),
    }


def print_ratios(cases):
    """Table of the ratios alone: one line per size, one column per branch and dtype."""
    kinds = list(dict.fromkeys((case["branch"], case["dtype"]) for case in cases))
    sizes = list(dict.fromkeys((case["n"], case["d"], case["classes"]) for case in cases))
    ratio = {tuple(case[name] for name in KEYS): case["ratio"] for case in cases}
    print("\nratio plain / package")
    print(f"{'n':>6} {'d':>5} {'C':>4}  " + "  ".join(" ".join(kind).rjust(16) for kind in kinds))
    for n, d, n_classes in sizes:
        values = "  ".join(f"{ratio[n, d, n_classes, *kind]:16.1f}" for kind in kinds)
        print(f"{n:6d} {d:5d} {n_classes:4d}  {values}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, nargs="+", help="rows")
    parser.add_argument("--d", type=int, nargs="+", help="features")
    parser.add_argument("--classes", type=int, nargs="+", help="classes")
    parser.add_argument("--branch", choices=SCALES, nargs="+", default=list(SCALES))
    parser.add_argument(
        "--dtype", choices=("float32", "float64"), nargs="+", default=["float32", "float64"]
    )
    parser.add_argument("--repeat", type=int, default=5, help="turns of each side (default: 5)")
    parser.add_argument("--quick", action="store_true", help="a small grid")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results here")
    args = parser.parse_args()
    # What the grid makes of n and C is the point here, few rows and all.
    warnings.simplefilter("ignore", UserWarning)

    grid = QUICK if args.quick else GRID
    axes = [getattr(args, name) or grid[name] for name in grid]
    versions = {
        "python": platform.python_version(),
        "numpy": np.__version__,
        "scipy": scipy.__version__,
        "scikit-learn": sklearn.__version__,
    }
    print(", ".join(f"{name} {version}" for name, version in versions.items()))
    print(
        f"{'n':>6} {'d':>5} {'C':>4}  {'branch':8}  {'dtype':7} "
        f"{'plain s':>9} {'package s':>9} {'ratio':>6} {'difference':>10}"
    )
    cases = []
    for n, d, n_classes, branch, dtype in itertools.product(*axes, args.branch, args.dtype):
        case = run_case(n, d, n_classes, branch, dtype, args.repeat)
        cases.append(case)
        print(
            f"{n:6d} {d:5d} {n_classes:4d}  {branch:8}  {dtype:7} {case['plain_s']:9.4f} "
            f"{case['package_s']:9.4f} {case['ratio']:6.1f} {case['difference']:10.0e}",
            flush=True,
        )
    print_ratios(cases)
    ratios = np.array([case["ratio"] for case in cases])
    print(
        f"ratio plain / package: geometric mean {np.exp(np.log(ratios).mean()):.2f}, "
        f"least {ratios.min():.2f}, largest {ratios.max():.2f}"
    )
    if args.json is not None:
        args.json.write_text(json.dumps({"versions": versions, "cases": cases}, indent=2) + "\n")


if __name__ == "__main__":
    main()
