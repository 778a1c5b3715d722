"""Compare what scorers say of candidates with what fine-tuning gave them.

    python benchmarks/fidelity.py                            # the bundled demonstration
    python benchmarks/fidelity.py FOLDER ACCURACIES.json

FOLDER has a folder for each data set, with ``labels.npy``, shape (n,), and a file
``MODEL.npy``, shape (n, d), of the features of each model, rows in the order of the labels.
ACCURACIES.json says what fine-tuning gave: ``{"DATA SET": {"MODEL": accuracy, ...}, ...}``,
larger is better, in any unit. Models that only one of the two has are left out and named.

Printed are, for every data set and on average over them, the weighted Kendall tau, Kendall
tau, Spearman's rho, and the accuracy that is lost by fine-tuning the first, or the first three,
of the list. In brackets stands a 95 % interval from bootstrap resamples of the models, with
replacement, within every data set: with few models it is wide.
"""

import argparse
import json
import sys
import warnings
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_ncti import NCTIScorer
from sklearn_ncti._ranking.rank_features import rank_results
from sklearn_ncti._scoring.agreement import order_agreement, regret
from sklearn_ncti._scoring.normalization import NORMALIZATIONS
from sklearn_ncti._scoring.scorers import Scorers
from sklearn_ncti._scoring.scoring import score_all as score_matrices
from sklearn_ncti.companions import GBC, NLEEP, PARC, SFDA, FaCe, HScore, LogME, TransRate

# Those of several components are shown under every normalisation.
SUMS = {"NCTI cv=5": NCTIScorer(cv=5), "NCTI shrinkage=0.1": NCTIScorer(shrinkage=0.1)}
OTHERS = {
    "LogME": LogME(),
    "HScore": HScore(),
    "GBC": GBC(),
    "FaCe": FaCe(),
    "TransRate": TransRate(),
    "SFDA": SFDA(),
    "PARC": PARC(),
    "NLEEP": NLEEP(),
    "kNN": KNeighborsClassifier(),
    "linear probe": make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)),
}
MEASURES = ("weighted tau", "tau", "rho", "regret@1", "regret@3")


def load_demonstration():
    """Features of the bundled models on the bundled images, labels, and accuracies."""
    from sklearn_ncti.datasets import load_digit_images, load_zoo, load_zoo_accuracies

    images, y = load_digit_images()
    features = {name: backbone.fit_transform(images) for name, backbone in load_zoo()}
    return {"digits": (features, y)}, {"digits": load_zoo_accuracies()}


def load_folder(folder, accuracies):
    """The same of a folder and a JSON file, see the module docstring."""
    known = json.loads(accuracies.read_text(encoding="utf-8"))
    data = {}
    for name, of_models in known.items():
        labels = folder / name / "labels.npy"
        if not labels.is_file():
            raise SystemExit(f"{accuracies} names the data set {name!r}, but {labels} is absent.")
        files = {path.stem: path for path in sorted(labels.parent.glob("*.npy"))}
        files.pop("labels")
        alone = sorted(set(files) ^ set(of_models))
        if alone:
            sys.stderr.write(f"{name}: left out, in one of the two only: {', '.join(alone)}\n")
        features = {m: np.load(path, mmap_mode="r") for m, path in files.items() if m in of_models}
        if len(features) < 3:
            raise SystemExit(
                f"{name}: {len(features)} models have features and an accuracy; 3 are needed."
            )
        data[name] = features, np.load(labels)
    return data, known


def score_all(features, y):
    """Scores of all candidates by scorer and normalisation."""
    found = []
    for name, X in features.items():
        sys.stderr.write(f"  {name}\n")
        found += score_matrices({name: X}, y, Scorers(NCTIScorer(), SUMS | OTHERS))
    scores = {}
    for normalization in NORMALIZATIONS:
        results = rank_results(found, normalization=normalization).results
        scores["NCTI", normalization] = results["score"]
        scores |= {(name, normalization): results[name] for name in SUMS}
        scores |= {(name, ""): results[name] for name in OTHERS}
    # Sums first, each under all normalisations.
    order = ["NCTI", *SUMS, *OTHERS]
    return {key: scores[key] for key in sorted(scores, key=lambda key: order.index(key[0]))}


def measure(score, accuracy):
    """All measures of one score, NaN for candidates without one left out."""
    ok = np.isfinite(score)
    if not ok.any():
        return np.full(len(MEASURES), np.nan)
    score, accuracy = score[ok], accuracy[ok]
    return np.array(
        [
            *order_agreement(score, accuracy).values(),
            *(regret(score, accuracy, n_tried) for n_tried in (1, 3)),
        ]
    )


def measure_drawn(score, accuracy, n_resamples, seed=0):
    """The same of bootstrap resamples of the models; equal draws for all scorers."""
    rng = np.random.default_rng(seed)
    drawn = (rng.integers(0, len(score), len(score)) for _ in range(n_resamples))
    return np.array([measure(score[rows], accuracy[rows]) for rows in drawn])


def print_table(title, found):
    print(f"\n{title}")
    print(f"{'scorer':18} {'normalization':13} " + " ".join(f"{m:>20}" for m in MEASURES))
    for (scorer, normalization), (observed, drawn) in found.items():
        low, high = np.nanquantile(drawn, [0.025, 0.975], axis=0)
        cells = (
            f"{o:5.2f} [{a:5.2f}, {b:5.2f}]" for o, a, b in zip(observed, low, high, strict=True)
        )
        print(f"{scorer:18} {normalization:13} " + " ".join(f"{cell:>20}" for cell in cells))


def main(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", nargs="?", type=Path, help="folder of features")
    parser.add_argument("accuracies", nargs="?", type=Path, help="JSON file of accuracies")
    parser.add_argument("--resamples", type=int, default=500, help="of models (default: 500)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results here")
    args = parser.parse_args(argv)
    if (args.folder is None) != (args.accuracies is None):
        parser.error("FOLDER and ACCURACIES.json go together")
    # Of few rows, and of models that are all alike in a draw.
    warnings.simplefilter("ignore")

    data, known = (
        load_demonstration() if args.folder is None else load_folder(args.folder, args.accuracies)
    )
    tables = {}
    for i, (name, (features, y)) in enumerate(data.items()):
        sys.stderr.write(f"{name}: {len(features)} models, {len(y)} rows\n")
        accuracy = np.array([known[name][model] for model in features], dtype=float)
        tables[name] = {
            key: (measure(score, accuracy), measure_drawn(score, accuracy, args.resamples, i))
            for key, score in score_all(features, y).items()
        }
        print_table(f"{name}: {len(features)} models, {len(y)} rows", tables[name])
    if len(tables) > 1:
        average = {
            key: tuple(
                np.nanmean([table[key][part] for table in tables.values()], axis=0)
                for part in (0, 1)
            )
            for key in next(iter(tables.values()))
        }
        print_table(f"average over {len(tables)} data sets", average)
    if args.json is not None:
        rows = [
            {
                "data": name,
                "scorer": scorer,
                "normalization": normalization,
                **dict(zip(MEASURES, observed.tolist(), strict=True)),
            }
            for name, table in tables.items()
            for (scorer, normalization), (observed, _) in table.items()
        ]
        args.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
