"""Time NCTIScorer against the plain recipe, one product X.T @ X, and what else a user might run.

The plain recipe is scikit-learn's PCA and LDA, then full nuclear norms. All sides score the same
synthetic features in one process and take turns, with a pause in between: the threads of one
BLAS go on spinning for a while, on the cores that the next one needs. What counts are ratios of
medians; seconds belong to the machine. Cross-validated classifiers run once, and only where they
end within minutes; H-score and LogME are those of `sklearn_ncti.companions`.
"""

import argparse
import itertools
import json
import platform
import time
import tracemalloc
import warnings
from pathlib import Path
from statistics import median

import numpy as np
import scipy
import sklearn
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.neighbors import KNeighborsClassifier

from sklearn_ncti import NCTIScorer
from sklearn_ncti.companions import HScore, LogME

GRID = {"n": [2000, 20000, 100000], "d": [384, 768, 2048], "classes": [10, 100, 397, 1000]}
QUICK = {"n": [200, 2000], "d": [64, 384], "classes": [10]}

# Standard deviation of the leading feature on either branch of the shrinkage rule: the
# variances of the small one add up to about 1, those of the large one to about 100.
SCALES = {"shrunk": 0.5, "unshrunk": 5.0}

#: Seconds that the threads of BLAS are given to fall asleep.
PAUSE = 0.1


def make_features(n, d, n_classes, branch, dtype, seed=0):
    """Gaussian classes whose principal variances fall by a power law, as those of networks do."""
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.arange(n) % n_classes)
    deviations = (SCALES[branch] * np.arange(1, d + 1) ** -0.5).astype(dtype)
    X = rng.standard_normal((n, d), dtype=dtype)
    X += 0.5 * rng.standard_normal((n_classes, d), dtype=dtype)[y]
    X *= deviations
    X += 1.0
    return X, y


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


def leave_one_out(X, y):
    """Return the components of the exact leave-one-out."""
    return NCTIScorer(cv="loo").fit(X, y).components_


def square(X, y):
    """One product of the features with themselves, the least that can be done."""
    return X.T @ X


def h_score(X, y):
    return HScore().fit(X, y).score()


def logme(X, y):
    return LogME().fit(X, y).score()


def nearest_neighbours(X, y):
    return cross_val_score(KNeighborsClassifier(5), X, y, cv=5).mean()


def linear_probe(X, y):
    return cross_val_score(LogisticRegression(max_iter=100), X, y, cv=5).mean()


def _can_run(function, n, d, n_classes):
    """Whether every fold has rows of every class, and the end comes within minutes."""
    if function is nearest_neighbours:
        return n <= 20000 and n >= 5 * n_classes
    return function is not linear_probe or (n * d * n_classes <= 2e8 and n >= 5 * n_classes)


def seconds_of(function, X, y):
    """Seconds of one call, after a pause; work on a device is waited for."""
    time.sleep(PAUSE)
    start = time.perf_counter()
    result = function(X, y)
    if not isinstance(X, np.ndarray):
        X.sum().item()
    return time.perf_counter() - start, result


def peak_of(function, X, y):
    """Peak megabytes of arrays of a call, without the features."""
    tracemalloc.start()
    function(X, y)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 1e6


def run_case(n, d, n_classes, branch, dtype, *, repeat, others, loo, device):
    """Medians of all sides on one set of features, and how far the results differ."""
    X, y = make_features(n, d, n_classes, branch, dtype)
    case = {"n": n, "d": d, "classes": n_classes, "branch": branch, "dtype": dtype}
    turns = [package, square] if device else [package, plain_recipe, square]
    turns += [leave_one_out] if loo else []
    if device:
        import torch

        X = torch.from_numpy(X).to(device)
        case["device"] = torch.cuda.get_device_name(X.device) if X.is_cuda else device
    # Once without the clock: threads of BLAS start, and memory is there.
    results = {function: function(X, y) for function in turns}
    seconds = {function: [] for function in turns}
    for turn in range(repeat):
        for function in turns[turn % len(turns) :] + turns[: turn % len(turns)]:
            seconds[function].append(seconds_of(function, X, y)[0])
    case["package_s"], case["square_s"] = median(seconds[package]), median(seconds[square])
    case["over_square"] = case["package_s"] / case["square_s"]
    if loo:
        case["loo_over_package"] = median(seconds[leave_one_out]) / case["package_s"]
    if device:
        return case
    ours, plain = results[package], results[plain_recipe]
    case["plain_s"] = median(seconds[plain_recipe])
    case["over_plain"] = case["package_s"] / case["plain_s"]
    case["difference"] = max(abs(ours[name] / plain[name] - 1.0) for name in plain)
    case["package_mb"] = peak_of(package, X, y)
    case["plain_mb"] = peak_of(plain_recipe, X, y)
    if others:
        for function in (h_score, logme, nearest_neighbours, linear_probe):
            if _can_run(function, n, d, n_classes):
                case[f"{function.__name__}_s"] = seconds_of(function, X, y)[0]
    return case


COLUMNS = [
    ("n", "n", "{:d}", 6),
    ("d", "d", "{:d}", 4),
    ("C", "classes", "{:d}", 4),
    ("branch", "branch", "{}", 8),
    ("dtype", "dtype", "{}", 7),
    ("ours s", "package_s", "{:.4f}", 8),
    ("plain s", "plain_s", "{:.4f}", 8),
    ("X'X s", "square_s", "{:.4f}", 7),
    ("/plain", "over_plain", "{:.2f}", 6),
    ("/X'X", "over_square", "{:.1f}", 6),
    ("loo/ours", "loo_over_package", "{:.2f}", 8),
    ("ours MB", "package_mb", "{:.0f}", 7),
    ("plain MB", "plain_mb", "{:.0f}", 8),
    ("H-score", "h_score_s", "{:.2f}", 7),
    ("LogME", "logme_s", "{:.2f}", 6),
    ("kNN cv", "nearest_neighbours_s", "{:.1f}", 6),
    ("probe cv", "linear_probe_s", "{:.1f}", 8),
]


def line(case):
    """Return the columns of one case, or their names for None."""
    cells = []
    for title, key, form, width in COLUMNS:
        text = title if case is None else form.format(case[key]) if key in case else "-"
        cells.append(text.rjust(width))
    return " ".join(cells)


def summary(cases):
    """Return the geometric mean and the extremes of the time over that of the plain recipe."""
    ratios = np.array([case["over_plain"] for case in cases if "over_plain" in case])
    if not len(ratios):
        return ""
    return (
        f"ours / plain over {len(ratios)} cases: geometric mean "
        f"{np.exp(np.log(ratios).mean()):.2f}, least {ratios.min():.2f}, "
        f"largest {ratios.max():.2f}"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, nargs="+", help="rows")
    parser.add_argument("--d", type=int, nargs="+", help="features")
    parser.add_argument("--classes", type=int, nargs="+", help="classes")
    parser.add_argument("--branch", choices=SCALES, nargs="+", default=["unshrunk"])
    parser.add_argument("--dtype", choices=("float32", "float64"), nargs="+", default=["float32"])
    parser.add_argument("--repeat", type=int, default=5, help="turns of each side (default: 5)")
    parser.add_argument("--others", action="store_true", help="time other metrics as well")
    parser.add_argument("--loo", action="store_true", help="time the leave-one-out as well")
    parser.add_argument("--device", help="a torch device that the features lie on")
    parser.add_argument("--quick", action="store_true", help="a small grid")
    parser.add_argument("--json", type=Path, metavar="FILE", help="add the results to this file")
    parser.add_argument("--show", action="store_true", help="print what --json has, run nothing")
    args = parser.parse_args()
    # What the grid makes of n and C is the point here, few rows and all.
    warnings.simplefilter("ignore")

    versions = {
        "python": platform.python_version(),
        "numpy": np.__version__,
        "scipy": scipy.__version__,
        "scikit-learn": sklearn.__version__,
    }
    cases = []
    if args.json is not None and args.json.exists():
        cases = json.loads(args.json.read_text())["cases"]
    print(", ".join(f"{name} {version}" for name, version in versions.items()))
    print(line(None))
    if args.show:
        print("\n".join(map(line, cases)))
        print(summary(cases))
        return
    grid = QUICK if args.quick else GRID
    axes = [getattr(args, name) or grid[name] for name in grid]
    for n, d, n_classes, branch, dtype in itertools.product(*axes, args.branch, args.dtype):
        case = run_case(
            n,
            d,
            n_classes,
            branch,
            dtype,
            repeat=args.repeat,
            others=args.others,
            loo=args.loo,
            device=args.device,
        )
        cases.append(case)
        print(line(case), flush=True)
        if args.json is not None:
            args.json.write_text(json.dumps({"versions": versions, "cases": cases}, indent=1))
    print(summary(cases))


if __name__ == "__main__":
    main()
