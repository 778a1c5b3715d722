"""Show how the discriminant overfits pure noise when the rows are few for k + C.

Features are Gaussian noise and labels are drawn without regard to them, so that an honest
classifier gets the chance level 1 / C. The table gives what the fitted rows get instead, and
what as many fresh rows of the same noise get under the same projection.
"""

import argparse
import json
import warnings
from pathlib import Path

import numpy as np

from sklearn_ncti import NCTIScorer

CASES = ((64, 2), (64, 10), (64, 100), (16, 10))
RATIOS = (1.5, 2.0, 3.0, 5.0, 10.0, 20.0, 50.0)


def make_noise(n, k, n_classes, rng):
    """Noise of k features, and balanced labels that know nothing of it."""
    return rng.normal(size=(n, k)), rng.permutation(np.arange(n) % n_classes)


def run_case(k, n_classes, ratio, repeat, seed=0):
    """Mean over `repeat` draws of noise with n = ratio (k + C)."""
    n = round(ratio * (k + n_classes))
    rng = np.random.default_rng(seed)
    draws = []
    for _ in range(repeat):
        X, y = make_noise(n, k, n_classes, rng)
        scorer = NCTIScorer(n_components=k).fit(X, y)
        fresh = scorer.component_scores(*make_noise(n, k, n_classes, rng))
        parts = scorer.component_scores(absolute=True)
        draws.append((parts["ncc"], parts["seli"], scorer.score_, fresh["ncc"]))
    ncc, correlation, score, fresh_ncc = np.mean(draws, axis=0).tolist()
    return {
        "k": k,
        "classes": n_classes,
        "ratio": ratio,
        "n": n,
        "chance": 1.0 / n_classes,
        "ncc": ncc,
        "fresh_ncc": fresh_ncc,
        "correlation": correlation,
        "score": score,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=10, help="draws of noise (default: 10)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results here")
    args = parser.parse_args()
    # That the rows are few is the point here.
    warnings.simplefilter("ignore", UserWarning)

    print(
        f"{'k':>3} {'C':>4} {'n/(k+C)':>8} {'n':>6} {'chance':>7} {'ncc':>7} "
        f"{'fresh ncc':>9} {'correlation':>11} {'score':>6}"
    )
    cases = []
    for k, n_classes in CASES:
        for ratio in RATIOS:
            case = run_case(k, n_classes, ratio, args.repeat)
            cases.append(case)
            print(
                f"{k:3d} {n_classes:4d} {ratio:8.1f} {case['n']:6d} {case['chance']:7.3f} "
                f"{case['ncc']:7.3f} {case['fresh_ncc']:9.3f} {case['correlation']:11.3f} "
                f"{case['score']:6.3f}",
                flush=True,
            )
    if args.json is not None:
        args.json.write_text(json.dumps(cases, indent=2) + "\n")


if __name__ == "__main__":
    main()
