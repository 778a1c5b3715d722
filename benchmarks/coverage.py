"""Show how often the intervals of a ranking cover the truth that they are about.

Candidates are views of the same Gaussian classes through linear maps, with noise of different
strength. Rows can be drawn from them without end, so that the truth is known: the mean score
of a candidate over draws of n rows, and the median. Each further draw gets intervals from its
own rows alone, and the table says in how many of them the truth lies inside. The nominal level
is 0.95. Where a bound of the normalisation holds a score, the interval of its rank counts, as in
the table of a ranking. Below each case: in how many samples a score lies outside of its own
interval, and in how many the most probable best is not in the first group.

With --speed, it compares instead the time of a ranking with resampling and without.
"""

import argparse
import json
import statistics
import time
import warnings
from pathlib import Path

import numpy as np

from sklearn_ncti import NCTIScorer, rank_features
from sklearn_ncti._ranking.rank_features import rank_results
from sklearn_ncti._scoring.bootstrap import Resampling
from sklearn_ncti._scoring.scorers import Scorers
from sklearn_ncti._scoring.scoring import score_all

# Rows, classes, features: very few rows, few, and many.
CASES = ((100, 10, 64), (300, 5, 30), (1000, 10, 64))
NOISE = (0.3, 0.5, 0.6, 0.7, 0.9, 1.2)
NORMALIZATIONS = ("minmax", "zscore", "absolute")
TRUTHS = {"mean": np.mean, "median": np.median}

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


def run_case(case, n_draws, n_resamples):
    """Share of draws whose intervals cover the truth, by normalisation and candidate."""
    n, n_classes, d = case
    draw = make_population(n_classes, d)
    rng = np.random.default_rng(1)

    def rank(resampling=None):
        """Rankings under all normalisations, of one draw that is scored once."""
        features, y = draw(n, rng)
        found = score_all(features, y, Scorers(NCTIScorer()), resampling)
        return [rank_results(found, normalization=how).results for how in NORMALIZATIONS]

    # The error of the truth is a tenth of that of one draw, or less.
    draws = [[results["score"] for results in rank()] for _ in range(max(200, n_draws))]
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


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=200, help="draws of rows (default: 200)")
    parser.add_argument("--resamples", type=int, default=100, help="of each (default: 100)")
    parser.add_argument("--speed", action="store_true", help="compare times instead")
    parser.add_argument("--repeat", type=int, default=5, help="turns of --speed (default: 5)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results here")
    args = parser.parse_args()
    # That the rows are few is the point of one case.
    warnings.simplefilter("ignore", UserWarning)

    if args.speed:
        cases = [run_speed(n_classes, args.repeat) for n_classes in SPEED_CLASSES]
        for case in cases:
            print(
                f"12 candidates of 2,000 x 1,024, {case['classes']} classes: "
                f"{case['plain']:.2f} s, with 100 resamples {case['resampled']:.2f} s "
                f"({case['ratio']:.2f} times)"
            )
    else:
        heads = " ".join(f"{f'noise {noise}':>9}" for noise in NOISE)
        print(f"{'n':>5} {'C':>3} {'normalization':>13} {'of':>6} {heads}    all")
        cases = []
        for case in CASES:
            for found in run_case(case, args.draws, args.resamples):
                cases.append(found)
                _print_row(found, found["of"], found["coverage"], np.mean(found["coverage"]))
                if found["of"] == "median":
                    _print_row(found, "held", found["held"], np.mean(found["held"]))
                    print(
                        f"      of {args.draws} samples: {found['score_outside']} with a score "
                        f"outside of its interval, {found['best_outside_first_group']} with the "
                        "most probable best outside of the first group"
                    )
        cells = [share for case in cases for share in case["coverage"]]
        print(f"least and largest coverage of a cell: {min(cells):.3f} {max(cells):.3f}")
    if args.json is not None:
        args.json.write_text(json.dumps(cases, indent=2) + "\n")


if __name__ == "__main__":
    main()
