"""Show how often the intervals of a ranking cover the truth that they are about.

Candidates are views of the same Gaussian classes through linear maps, with noise of different
strength. Rows can be drawn from them without end, so that the truth is known: the mean score
of a candidate over draws of n rows, and the median. Each further draw gets intervals from its
own rows alone, and the table says in how many of them the truth lies inside. The nominal level
is 0.95. Where a bound of the normalisation holds a score, the interval of its rank counts, as in
the table of a ranking. Below each case: in how many samples a score lies outside of its own
interval, and in how many the most probable best is not in the first group.

With --left-out, it compares instead four kinds of resamples of an exact leave-one-out with other
samples of the same population. With --speed, it compares the time of a ranking with resampling
and without.
"""

import argparse
import json
import statistics
import time
import warnings
from pathlib import Path

import numpy as np
from sklearn.base import clone

from sklearn_ncti import (
    NCTIScorer,
    NearestCenterClassifier,
    WithinClassVariability,
    rank_features,
)
from sklearn_ncti._ncti.leave_one_out import LeaveOneOut
from sklearn_ncti._ncti.weighted import WeightedRows
from sklearn_ncti._ranking.rank_features import rank_results
from sklearn_ncti._scoring.bootstrap import Resampling
from sklearn_ncti._scoring.scorers import Scorers
from sklearn_ncti._scoring.scoring import score_all
from sklearn_ncti._utils.resampling import Draws

# Rows, classes, features: very few rows, few, and many.
CASES = ((100, 10, 64), (300, 5, 30), (1000, 10, 64))
NOISE = (0.3, 0.5, 0.6, 0.7, 0.9, 1.2)
NORMALIZATIONS = ("minmax", "zscore", "absolute")
TRUTHS = {"mean": np.mean, "median": np.median}
SCORERS = {
    "ncti": NCTIScorer(),
    "loo": NCTIScorer(cv="loo"),
    "robust": NearestCenterClassifier(cv="loo", shrinkage="scale-free"),
}

# Components of an exact leave-one-out, and the samples of each case that are resampled.
LEFT_OUT = {
    "ncc": NearestCenterClassifier(cv="loo", shrinkage="scale-free"),
    "vc": WithinClassVariability(cv="loo", shrinkage="scale-free"),
}
LEFT_OUT_SAMPLES = 10

# Classes of the features that are timed.
SPEED_CLASSES = (10, 100)


def make_population(n_classes, d, seed=0):
    """Return what draws n rows: features of all candidates, and labels."""
    rng = np.random.default_rng(seed)
    deviations = np.geomspace(1.0, 0.1, d)
    centers = 0.5 * rng.normal(size=(n_classes, d)) * deviations
    views = [rng.normal(size=(d, d)) / np.sqrt(d) for _ in NOISE]

    def draw(n, rng):
        y = np.arange(n) % n_classes
        hidden = centers[y] + rng.normal(size=(n, d)) * deviations
        return {
            f"noise {noise}": 3 * (hidden @ view + noise * rng.normal(size=(n, d)))
            for noise, view in zip(NOISE, views, strict=True)
        }, y

    return draw


def run_case(case, scorer, n_draws, n_resamples, population=0):
    """Share of draws whose intervals cover the truth, by normalisation and candidate."""
    n, n_classes, d = case
    draw = make_population(n_classes, d, population)
    rng = np.random.default_rng(1)

    def rank(resampling=None):
        """Rankings under all normalisations, of one draw that is scored once."""
        features, y = draw(n, rng)
        found = score_all(features, y, Scorers(scorer), resampling)
        return [rank_results(found, normalization=how).results for how in NORMALIZATIONS]

    # The error of the truth is a thirtieth of that of one draw, or less.
    draws = [[results["score"] for results in rank()] for _ in range(max(1000, n_draws))]
    found = [rank(Resampling(n_resamples, seed)) for seed in range(n_draws)]

    def column(name, i):
        return np.array([rankings[i][name] for rankings in found])

    cases = []
    for i, how in enumerate(NORMALIZATIONS):
        score, held = column("score", i), column("held", i)
        best = column("best_probability", i).argmax(axis=1)
        group = column("group", i)[np.arange(n_draws), best]
        outside = (score < column("score_low", i)) | (score > column("score_high", i))
        for name, middle in TRUTHS.items():
            truth = middle(draws, axis=0)[i]
            covered = np.where(
                held,
                _inside(1 + (truth[:, None] < truth).sum(axis=1), "rank", column, i),
                _inside(truth, "score", column, i),
            )
            cases.append(
                {
                    "n": n,
                    "classes": n_classes,
                    "normalization": how,
                    "of": name,
                    "truth": truth.tolist(),
                    "held": held.mean(axis=0).tolist(),
                    "coverage": covered.mean(axis=0).tolist(),
                    "score_outside": int(outside.any(axis=1).sum()),
                    "best_outside_first_group": int((group != 1).sum()),
                }
            )
    return cases


def _inside(truth, of, column, i):
    return (column(f"{of}_low", i) <= truth) & (truth <= column(f"{of}_high", i))


def run_left_out(case, n_draws, n_resamples, population=0):
    """Standard deviations over resamples divided by those over samples, mean over candidates."""
    n, n_classes, d = case
    draw = make_population(n_classes, d, population)
    rng = np.random.default_rng(1)

    def measure(function):
        """Components of all candidates of one sample, by kind: (n_candidates, ..., 2)."""
        features, y = draw(n, rng)
        found = [function(X, y) for X in features.values()]
        return {kind: np.array([of[kind] for of in found]) for kind in found[0]}

    samples = np.stack([measure(_left_out)["samples"] for _ in range(n_draws)], axis=1)
    truth = _deviations(samples)
    found = [
        measure(lambda X, y, seed=seed: _left_out_resamples(X, y, n_resamples, seed))
        for seed in range(LEFT_OUT_SAMPLES)
    ]
    ratios = []
    for kind in found[0]:
        squares = [[part**2 for part in _deviations(of[kind])] for of in found]
        for i, component in enumerate(LEFT_OUT):
            scores, differences = (
                float(np.mean(np.sqrt(np.mean(part, axis=0)) / true, axis=0)[i])
                for part, true in zip(zip(*squares, strict=True), truth, strict=True)
            )
            ratios.append(
                {
                    "n": n,
                    "classes": n_classes,
                    "component": component,
                    "kind": kind,
                    "scores": scores,
                    "differences": differences,
                }
            )
    return sorted(ratios, key=lambda ratio: ratio["component"])


def _left_out(X, y):
    """Components of an exact leave-one-out of one sample."""
    return {"samples": [clone(scorer).fit(X, y).score() for scorer in LEFT_OUT.values()]}


def _left_out_resamples(X, y, n_resamples, seed):
    """Components of an exact leave-one-out of resamples, by their kind."""
    draws = Draws(y, n_resamples, seed)
    fitted = [clone(scorer).fit(X, y) for scorer in LEFT_OUT.values()]
    discriminant, (projection, _) = fitted[0]._discriminant, fitted[0]._projection
    rows = WeightedRows.of(projection, y)
    of_rows = LeaveOneOut.of(discriminant, projection.moments).posterior(rows.H, rows.codes)
    found = {"weights": np.transpose([scorer.resample(draws) for scorer in fitted])}
    for weights in draws.by_class():
        left_out = LeaveOneOut.of(discriminant, rows.moments(weights[None].astype(float))[0])
        drawn = np.repeat(np.arange(len(y)), weights)
        H, codes, copies = rows.H[drawn], rows.codes[drawn], weights[drawn].astype(float)
        posteriors = {
            "one copy": left_out.posterior(H, codes),
            "all copies": left_out.posterior(H, codes, copies),
            "no new fit": of_rows[drawn],
        }
        for kind, P in posteriors.items():
            found.setdefault(kind, []).append(_components(P, codes))
    return found


def _components(P, codes):
    """Return ncc and vc of a posterior."""
    norms = [np.linalg.norm(P[codes == c], "nuc") for c in range(P.shape[1])]
    return P[np.arange(len(P)), codes].mean(), -np.log(np.sum(norms))


def _deviations(values):
    """Standard deviations of candidates, and of differences of neighbours (second axis)."""
    return values.std(axis=1), np.diff(values, axis=0).std(axis=1)


def run_speed(n_classes, repeat, n_resamples=100):
    """Time of a ranking of 12 candidates of 2,000 rows and 1,024 features, and with resamples."""
    rng = np.random.default_rng(0)
    y = np.arange(2000) % n_classes
    deviations = np.geomspace(1.0, 0.05, 1024)
    centers = 0.5 * rng.normal(size=(n_classes, 1024))
    features = {
        f"candidate {i}": ((centers[y] + rng.normal(size=(2000, 1024))) * deviations).astype(
            np.float32
        )
        for i in range(12)
    }
    seconds = {0: [], n_resamples: []}
    for _ in range(repeat):
        for k, measured in seconds.items():
            start = time.perf_counter()
            rank_features(features, y, n_resamples=k, random_state=0)
            measured.append(time.perf_counter() - start)
    plain, resampled = (statistics.median(measured) for measured in seconds.values())
    ratio = resampled / plain
    return {"classes": n_classes, "plain": plain, "resampled": resampled, "ratio": ratio}


def _print_row(case, of, shares, mean):
    print(
        f"{case['n']:5d} {case['classes']:3d} {case['normalization']:>13} {of:>6} "
        f"{' '.join(f'{share:9.3f}' for share in shares)} {mean:6.3f}",
        flush=True,
    )


def _show_coverage(args, cases):
    heads = " ".join(f"{f'noise {noise}':>9}" for noise in NOISE)
    print(f"{'n':>5} {'C':>3} {'normalization':>13} {'of':>6} {heads}    all")
    found = []
    scorer = SCORERS[args.scorer]
    for of_case in cases:
        for case in run_case(of_case, scorer, args.draws, args.resamples, args.population):
            found.append(case)
            _print_row(case, case["of"], case["coverage"], np.mean(case["coverage"]))
            if case["of"] == "median":
                _print_row(case, "held", case["held"], np.mean(case["held"]))
                print(
                    f"      of {args.draws} samples: {case['score_outside']} with a score "
                    f"outside of its interval, {case['best_outside_first_group']} with the "
                    "most probable best outside of the first group"
                )
    coverage, held = (np.array([case[name] for case in found]) for name in ("coverage", "held"))
    free = coverage[held < 0.5]
    print(
        f"least and largest coverage of a cell: {coverage.min():.3f} {coverage.max():.3f}; "
        f"where less than half of the samples are held: {free.min():.3f} {free.max():.3f}"
    )
    return found


def _show_left_out(args, cases):
    print(f"{'n':>5} {'C':>3} {'of':>3}  {'resamples':10}  scores  differences")
    found = []
    for of_case in cases:
        for ratio in run_left_out(of_case, args.draws, args.resamples, args.population):
            found.append(ratio)
            print(
                f"{ratio['n']:5d} {ratio['classes']:3d} {ratio['component']:>3}  "
                f"{ratio['kind']:10}  {ratio['scores']:6.2f}  {ratio['differences']:11.2f}",
                flush=True,
            )
    return found


def _show_speed(args):
    found = [run_speed(n_classes, args.repeat) for n_classes in SPEED_CLASSES]
    for case in found:
        print(
            f"12 candidates of 2,000 x 1,024, {case['classes']} classes: "
            f"{case['plain']:.2f} s, with 100 resamples {case['resampled']:.2f} s "
            f"({case['ratio']:.2f} times)"
        )
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=200, help="draws of rows (default: 200)")
    parser.add_argument("--resamples", type=int, default=100, help="of each (default: 100)")
    rows = [n for n, _, _ in CASES]
    parser.add_argument(
        "--rows", type=int, nargs="+", choices=rows, default=rows, help="cases (default: all)"
    )
    parser.add_argument(
        "--scorer", choices=SCORERS, default="ncti", help="whose intervals (default: ncti)"
    )
    parser.add_argument(
        "--population", type=int, default=0, help="seed of that whose rows are drawn (default: 0)"
    )
    parser.add_argument("--left-out", action="store_true", help="compare kinds of resamples")
    parser.add_argument("--speed", action="store_true", help="compare times instead")
    parser.add_argument("--repeat", type=int, default=5, help="turns of --speed (default: 5)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results here")
    args = parser.parse_args()
    # That the rows are few is the point of one case.
    warnings.simplefilter("ignore", UserWarning)

    cases = [case for case in CASES if case[0] in args.rows]
    if args.speed:
        found = _show_speed(args)
    elif args.left_out:
        found = _show_left_out(args, cases)
    else:
        found = _show_coverage(args, cases)
    if args.json is not None:
        args.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
