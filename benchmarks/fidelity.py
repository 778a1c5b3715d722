"""Compare what scorers say of candidates with what fine-tuning gave them.

    python benchmarks/fidelity.py                            # the bundled demonstration
    python benchmarks/fidelity.py FOLDER ACCURACIES.json [--prior others|imagenet|FILE]

FOLDER has a folder for each data set, with ``labels.npy``, shape (n,), and a file
``MODEL.npy``, shape (n, d), of the features of each model, rows in the order of the labels.
ACCURACIES.json says what fine-tuning gave: ``{"DATA SET": {"MODEL": accuracy, ...}, ...}``,
larger is better, in any unit. Models that only one of the two has are left out and named.

A prior is ``others`` (the accuracies on the other data sets, as records), ``imagenet`` (names of
models are names of timm), or a JSON file with what ``rank_features`` takes as ``prior``.

One table is printed, best first. Its lists are the other metrics, and for NCTI plain, with exact
leave-one-out (loo), with scale-free shrinkage, both, five folds, and one shrinkage for all: every
sum of its components, vc with either sign, with the prior and without. "robust" in the package is
the sum "ncc" of "NCTI loo, scale-free".

Columns are the weighted Kendall tau, the same minus that of the default sum, Kendall tau,
Spearman's rho, and the accuracy that is lost by fine-tuning the first, or the first three, of a
list; means over the data sets. In brackets stands a 95 % bootstrap interval, with equal draws for
all lists: of the data sets where there are five or more, else of the models within each data set.
"""

import argparse
import json
import sys
import warnings
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.stats import weightedtau
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_ncti import NCTIScorer
from sklearn_ncti._ranking.prior import check_prior
from sklearn_ncti._ranking.rank_features import rank_results
from sklearn_ncti._ranking.results import ranks
from sklearn_ncti._scoring.agreement import order_agreement, regret
from sklearn_ncti._scoring.candidate import Failure
from sklearn_ncti._scoring.normalization import NORMALIZATIONS, merge_equal
from sklearn_ncti._scoring.scorers import Scorers
from sklearn_ncti._scoring.scoring import score_all as score_matrices
from sklearn_ncti.companions import GBC, NLEEP, PARC, SFDA, FaCe, HScore, LogME, TransRate

# The first one scores as the package does by default.
NCTI = {
    "NCTI": NCTIScorer(),
    "NCTI loo": NCTIScorer(cv="loo"),
    "NCTI scale-free": NCTIScorer(shrinkage="scale-free"),
    "NCTI loo, scale-free": NCTIScorer(cv="loo", shrinkage="scale-free"),
    "NCTI cv=5": NCTIScorer(cv=5),
    "NCTI shrinkage=0.1": NCTIScorer(shrinkage=0.1),
}
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
#: What `scorer="robust"` is: a scorer and a sum.
ROBUST = ("NCTI loo, scale-free", "ncc")
#: Data sets from which on their bootstrap means something.
ENOUGH_DATA_SETS = 5


class List(NamedTuple):
    """What the candidates of every data set are listed by."""

    scorer: str
    sum: str = ""
    normalization: str = ""


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


def read_prior(source, name, models, known):
    """The prior of the models of one data set, None without one."""
    if source is None:
        return None
    if source == "others":
        records = [record for other, record in known.items() if other != name]
        prior = [record for record in records if set(record) & set(models)]
    elif source == "imagenet":
        from sklearn_ncti import TimmBackbone
        from sklearn_ncti._selection.prior import imagenet_accuracies

        prior = imagenet_accuracies([(model, TimmBackbone(model)) for model in models])
    else:
        prior = json.loads(Path(source).read_text(encoding="utf-8"))
    try:
        return check_prior(prior, models, "minmax")
    except (TypeError, ValueError) as exc:
        raise SystemExit(f"{name}: --prior {source}: {exc}") from exc


def sums(with_prior):
    """Weights of every sum of components, vc with either sign, by how it is written."""
    out = {}
    for seli, ncc, vc, prior in product((1, 0), (1, 0), (1, 0, -1), (0, 1)[: 1 + with_prior]):
        # The prior alone is one list, whatever scores the features.
        if seli or ncc or vc:
            weights = {"seli": seli, "ncc": ncc, "vc": vc} | ({"prior": 1} if prior else {})
            signed = [f"{'-' if w < 0 else '+'} {name}" for name, w in weights.items() if w]
            out[" ".join(signed).removeprefix("+ ")] = weights
    return out


def sums_of(found, name, normalization, prior):
    """Scores of all candidates by every sum of the components that one scorer measured."""
    own = [replace(c, components=c.additional.get(name, c.components)) for c in found]
    # A prior has no absolute scale.
    with_prior = prior is not None and normalization != "absolute"
    out = {List(name, text, normalization): w for text, w in sums(with_prior).items()}
    if all(isinstance(candidate.components, Failure) for candidate in own):
        return dict.fromkeys(out, np.full(len(own), np.nan))
    return {
        key: rank_results(
            own,
            normalization=normalization,
            weights=weights,
            prior=prior if "prior" in weights else None,
        ).results["score"]
        for key, weights in out.items()
    }


def score_all(features, y, normalizations, prior):
    """Scores of all candidates by every list."""
    found = []
    for name, X in features.items():
        sys.stderr.write(f"  {name}\n")
        additional = {name: scorer for name, scorer in NCTI.items() if name != "NCTI"} | OTHERS
        found += score_matrices({name: X}, y, Scorers(NCTI["NCTI"], additional))
    scores = {}
    for name, normalization in product(NCTI, normalizations):
        scores |= sums_of(found, name, normalization, prior)
    results = rank_results(found, normalization="minmax").results
    scores |= {List(name): results[name] for name in OTHERS}
    if prior is not None:
        scores[List("prior alone")] = np.array([prior.get(name, np.nan) for name in features])
    return scores


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


def taus_of_models(score, accuracy, n_resamples, seed=0):
    """Weighted tau in bootstrap resamples of the models; equal draws for all lists."""
    score, accuracy = merge_equal(score), merge_equal(accuracy)
    draws = np.random.default_rng(seed).integers(0, len(score), (n_resamples, len(score)))
    draws = [rows[np.isfinite(score[rows])] for rows in draws]
    return np.array(
        [weightedtau(score[i], accuracy[i]).statistic if len(i) > 1 else np.nan for i in draws]
    )


def resampled_taus(tables, accuracies, unit, n_resamples):
    """Weighted tau by list, arrays of (resamples, data sets); equal draws for all lists.

    `tables` has, for every data set and list, the scores and the measures of them.
    """
    draws = np.random.default_rng(0).integers(0, len(tables), (n_resamples, len(tables)))
    known = {}  # many lists have one order

    def of(key):
        if unit == "data sets":
            return np.array([table[key][1][0] for table in tables.values()])[draws]
        taus = []
        for seed, (name, table) in enumerate(tables.items()):
            score = table[key][0]
            places = np.where(np.isnan(score), np.nan, ranks(score))
            order = name, places.tobytes()
            if order not in known:
                known[order] = taus_of_models(-places, accuracies[name], n_resamples, seed)
            taus.append(known[order])
        return np.transpose(taus)

    return {key: of(key) for key in next(iter(tables.values()))}


def summarise(tables, accuracies, unit, n_resamples):
    """Means of the measures, the difference to the default sum, and two intervals, by list."""
    drawn = resampled_taus(tables, accuracies, unit, n_resamples)
    observed = {
        key: np.array([table[key][1] for table in tables.values()])
        for key in next(iter(tables.values()))
    }
    default = next(iter(observed))  # the first list
    return {
        key: (
            np.nanmean(values, axis=0),
            np.nanmean(values[:, 0] - observed[default][:, 0]),
            interval(drawn[key]),
            interval(drawn[key] - drawn[default]),
        )
        for key, values in observed.items()
    }


def interval(drawn):
    """Interval of 95 % of the means over the data sets, as text."""
    low, high = np.nanquantile(np.nanmean(drawn, axis=1), [0.025, 0.975])
    return f"[{low:z5.2f}, {high:z5.2f}]"


def print_table(found, n_rows):
    """Print the best rows, and in any case the default, the robust and the other scorers."""
    default = next(iter(found))
    always = {default, default._replace(scorer=ROBUST[0], sum=ROBUST[1])}
    order = sorted(found, key=lambda key: -np.nan_to_num(found[key][0][0], nan=-2.0))
    shown = [key for i, key in enumerate(order) if i < n_rows or key in always or not key.sum]
    header = ("place", *List._fields, "weighted tau", "minus default", *MEASURES[1:])
    rows = [
        (
            str(order.index(key) + 1),
            *key,
            f"{means[0]:z5.2f} {of_tau}",
            "" if key == default else f"{difference:z5.2f} {of_difference}",
            *(f"{mean:z.2f}" for mean in means[1:]),
        )
        for key in shown
        for means, difference, of_tau, of_difference in [found[key]]
    ]
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    for cells in (header, *rows):
        left = [cell.ljust(width) for cell, width in zip(cells[1:4], widths[1:4], strict=True)]
        right = [cell.rjust(width) for cell, width in zip(cells[4:], widths[4:], strict=True)]
        print("  ".join([cells[0].rjust(widths[0]), *left, *right]).rstrip())
    if len(shown) < len(order):
        print(f"{len(order) - len(shown)} of {len(order)} lists are not shown: --rows 0 shows all")
    print(
        f"The best of {len(order)} lists was chosen by these very accuracies: expect less of it "
        "on other data."
    )


def parse(argv):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", nargs="?", type=Path, help="folder of features")
    parser.add_argument("accuracies", nargs="?", type=Path, help="JSON file of accuracies")
    parser.add_argument("--prior", help="others, imagenet, or a JSON file")
    parser.add_argument(
        "--normalization",
        nargs="+",
        choices=NORMALIZATIONS,
        default=["minmax"],
        help="of the sums",
    )
    parser.add_argument("--resamples", type=int, default=500, help="of the bootstrap (500)")
    parser.add_argument("--resample", choices=("models", "data sets"), help="what is resampled")
    parser.add_argument("--rows", type=int, default=20, help="best lists to print; 0 for all (20)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results here")
    args = parser.parse_args(argv)
    if (args.folder is None) != (args.accuracies is None):
        parser.error("FOLDER and ACCURACIES.json go together")
    return args


def main(argv=None):
    args = parse(argv)
    # Of few rows, and of models that are all alike in a draw.
    warnings.simplefilter("ignore")
    data, known = (
        load_demonstration() if args.folder is None else load_folder(args.folder, args.accuracies)
    )
    priors = {name: read_prior(args.prior, name, list(of[0]), known) for name, of in data.items()}
    tables, accuracies = {}, {}
    for name, (features, y) in data.items():
        sys.stderr.write(f"{name}: {len(features)} models, {len(y)} rows\n")
        accuracies[name] = np.array([known[name][model] for model in features], dtype=float)
        scores = score_all(features, y, args.normalization, priors[name])
        tables[name] = {key: (of, measure(of, accuracies[name])) for key, of in scores.items()}
        missing = "" if priors[name] is None else f", {len(priors[name])} with a prior"
        print(f"{name}: {len(features)} models{missing}, {len(y)} rows")
    unit = args.resample or ("data sets" if len(data) >= ENOUGH_DATA_SETS else "models")
    print(f"Means over {len(data)} data set(s), best first; bootstrap of the {unit}\n")
    print_table(summarise(tables, accuracies, unit, args.resamples), args.rows or sys.maxsize)
    if args.json is not None:
        rows = [
            {
                "data": name,
                **key._asdict(),
                **dict(zip(MEASURES, measures.tolist(), strict=True)),
            }
            for name, table in tables.items()
            for key, (_, measures) in table.items()
        ]
        args.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
