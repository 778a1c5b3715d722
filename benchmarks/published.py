"""Compare published scores, ImageNet accuracy and their sum with published fine-tuning results.

    python benchmarks/published.py --published ../shared/published

Nothing is measured here: the scores and accuracies are figures that others published. The folder
has ``tmlr_benchmark.json`` (data of arXiv 2405.20420), ``sfda_supervised.json``, ``sfda_ssl.json``
and ``model_spider_baselines.json``; each names its source and commit.

The measure is the weighted Kendall tau of ``Ranking.agreement``, averaged over data sets. In
brackets stands a 95 % interval from a bootstrap over the data sets. The intervals of differences
are paired: both lists are averaged over the same draw. Three bootstraps are shown of the
differences: of the data sets, of the models (one draw for all data sets), and of both. Sums are
kept as they are in a draw of the models: NCTI's components are not published.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
from scipy.stats import weightedtau

from sklearn_ncti import Ranking

ROOT = Path(__file__).resolve().parents[1]
MEDICAL = ("brain_tumor_kaggle", "breakhis", "skin_splits")
SUM = "NCTI + ImageNet"
NAMES = {
    "ncti": "NCTI",
    "imagenet": "ImageNet top-1",
    "etran": "ETran",
    "gbc": "GBC",
    "parc": "PARC",
    "nleep": "NLEEP",
    "leep": "LEEP",
    "logme": "LogME",
    "pactran": "PACTran",
    "nce": "NCE",
    "tmi": "TMI",
    "sfda": "SFDA",
    "hscore": "H-score",
    "reg_hscore": "regularised H-score",
}
# The lists that are shown in detail, and the pairs of lists that are compared.
SHOWN = (SUM, "NCTI", "ImageNet top-1", "ETran")
PAIRS = (
    (SUM, "NCTI"),
    (SUM, "ImageNet top-1"),
    ("NCTI", "ImageNet top-1"),
    ("NCTI", "ETran"),
    (SUM, "ETran"),
)

# The supervised group on CIFAR-10: NCTI totals of a public reproduction by model. The accuracies
# are in sfda_supervised.json.
CIFAR10_TOTALS = {
    "resnet152": 2.000,
    "resnet101": 1.799,
    "densenet201": 1.434,
    "densenet169": 1.146,
    "resnet34": 0.757,
    "resnet50": 0.709,
    "densenet121": 0.655,
    "mnasnet1_0": 0.031,
    "googlenet": -0.251,
    "mobilenet_v2": -0.444,
    "inception_v3": -0.732,
}


def agreement(score, accuracy):
    """Measures of ``Ranking.agreement`` of scores and accuracies in one order."""
    names = [str(i) for i in range(len(score))]
    ranking = Ranking.from_scores(dict(zip(names, score, strict=True)))
    return ranking.agreement(dict(zip(names, accuracy, strict=True)))


def tau(score, accuracy):
    return agreement(score, accuracy)["weighted_kendall_tau"]


def minmax(values):
    """Scale values to [0, 1], as a component of the sum is scaled."""
    values = np.asarray(values, dtype=float)
    return (values - values.min()) / np.ptp(values)


def lists_of(data):
    """Scores of the models of one data set of ``tmlr_benchmark.json``, by the name of the list."""
    scores = {name: np.array(data[key], dtype=float) for key, name in NAMES.items()}
    return {SUM: scores["NCTI"] + minmax(scores["ImageNet top-1"])} | scores


def resampled_means(values, n_resamples, seed=0):
    """Means of bootstrap resamples of the data sets; equal draws for equally many data sets."""
    draws = np.random.default_rng(seed).integers(0, len(values), (n_resamples, len(values)))
    return np.asarray(values)[draws].mean(axis=1)


def interval(resamples):
    """Interval of 95 % of the resamples that have a value, as text."""
    low, high = np.nanquantile(resamples, [0.025, 0.975])
    return f"[{low:z.3f}, {high:z.3f}]"


def with_interval(values, n_resamples):
    """Mean over the data sets, and the interval of it, as text."""
    return f"{np.mean(values):z.3f} {interval(resampled_means(values, n_resamples))}"


def resampled_taus(datasets, keys, n_resamples, seed=0):
    """Weighted tau by list, arrays of (draws of the models, data sets)."""
    rng = np.random.default_rng(seed)
    data = [(lists_of(of), np.array(of["acc"])) for of in datasets.values()]
    n_models = len(data[0][1])
    draws = rng.integers(0, n_models, (n_resamples, n_models))
    return {
        key: np.array(
            [[weightedtau(of[key][i], acc[i]).statistic for of, acc in data] for i in draws]
        )
        for key in keys
    }


def show(title, header, rows):
    """Print a table: names to the left, the other cells in columns to the right."""
    cells = [("", *header), *([name, *row] for name, row in rows.items())]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header) + 1)]
    lines = [
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in cells
    ]
    lines = [line.rstrip() for line in lines if line.strip()]
    sys.stdout.write("\n".join(["", title, "", *lines, ""]))


def taus_of(datasets):
    """Weighted tau by list, an array over the data sets."""
    lists = {name: lists_of(data) for name, data in datasets.items()}
    return {
        key: np.array([tau(lists[name][key], data["acc"]) for name, data in datasets.items()])
        for key in next(iter(lists.values()))
    }


def regrets_of(datasets, key):
    """Mean accuracy lost, in per cent, if the first or the first three of a list are tried."""
    found = [agreement(lists_of(data)[key], data["acc"]) for data in datasets.values()]
    means = (100 * np.mean([of[f"regret_at_{n}"] for of in found]) for n in (1, 3))
    return [f"{mean:.2f}" for mean in means]


def show_differences(title, datasets, taus, n_resamples, n_model_resamples):
    """Paired differences of lists, with the intervals of three bootstraps."""
    keys = {key for pair in PAIRS for key in pair}
    drawn = resampled_taus(datasets, keys, n_model_resamples)
    rng = np.random.default_rng(1)
    sets = rng.integers(0, len(datasets), (n_model_resamples, len(datasets)))
    rows = {}
    for a, b in PAIRS:
        values, of_models = taus[a] - taus[b], drawn[a] - drawn[b]
        rows[f"{a} minus {b}"] = [
            f"{values.mean():z.3f}",
            interval(resampled_means(values, n_resamples)),
            interval(of_models.mean(axis=1)),
            interval(np.take_along_axis(of_models, sets, axis=1).mean(axis=1)),
        ]
    show(title, ("difference", "data sets", "models", "both"), rows)


def show_means(datasets, taus, n_resamples):
    """Mean weighted tau of every list, best first; `datasets` and `taus` by group."""
    order = sorted(taus["natural"], key=lambda key: -taus["natural"][key].mean())
    show(
        "arXiv 2405.20420, 10 models: mean weighted Kendall tau",
        [f"{group} ({len(of)})" for group, of in datasets.items()],
        {
            key: [
                # An interval over three data sets would mean nothing.
                f"{of[key].mean():z.3f}"
                if len(of[key]) < 5
                else with_interval(of[key], n_resamples)
                for of in taus.values()
            ]
            for key in order
        },
    )


def show_benchmark(everything, n_resamples, n_model_resamples):
    """Tables of the ten models of arXiv 2405.20420."""
    medical = {name: everything[name] for name in MEDICAL}
    natural = {name: data for name, data in everything.items() if name not in MEDICAL}
    datasets = {"natural": natural, "medical": medical, "all": natural | medical}
    taus = {group: taus_of(of) for group, of in datasets.items()}
    show_means(datasets, taus, n_resamples)
    for group in ("natural", "all"):
        title = f"Paired differences, {group} ({len(datasets[group])})"
        show_differences(title, datasets[group], taus[group], n_resamples, n_model_resamples)
    show(
        "Weighted Kendall tau on each data set (the last three are medical)",
        SHOWN,
        {
            name: [f"{taus['all'][key][i]:z.3f}" for key in SHOWN]
            for i, name in enumerate(datasets["all"])
        },
    )
    show(
        "Accuracy lost, in per cent, by fine-tuning only the first, or the first three (means)",
        ("natural, 1", "natural, 3", "medical, 1", "medical, 3"),
        {key: regrets_of(natural, key) + regrets_of(medical, key) for key in SHOWN},
    )


def left_out_lists(accuracy):
    """Mean accuracy of each model over the *other* data sets, for every data set (a row)."""
    return (accuracy.sum(axis=0) - accuracy) / (len(accuracy) - 1)


def table_of(results, models, names):
    return np.array([[results[name][model] for model in models] for name in names])


def show_records(title, group, top1, n_resamples):
    """Lists by accuracy on the other data sets, against ImageNet accuracy."""
    names = list(group["linear"])
    rows = {}
    for kind in ("full_finetuning", "last_block", "linear"):
        models = [model for model in top1 if model in group[kind][names[0]]]
        accuracy = table_of(group[kind], models, names)
        scaled = np.array([minmax(row) for row in accuracy])
        imagenet = np.array([top1[model] for model in models])
        lists = (
            left_out_lists(accuracy),
            left_out_lists(scaled),
            np.tile(imagenet, (len(names), 1)),
        )
        taus = [np.array(list(map(tau, scores, accuracy))) for scores in lists]
        compared = [*taus, taus[1] - taus[2]]
        rows[kind.replace("_", " ")] = [with_interval(values, n_resamples) for values in compared]
    header = ("mean of others", "min-max mean", "ImageNet top-1", "min-max minus ImageNet")
    show(f"{title}: {len(models)} models, {len(names)} data sets", header, rows)


def show_cifar10(group):
    """The published totals, alone and with ImageNet accuracy as a fourth component."""
    models = list(CIFAR10_TOTALS)
    total = np.array(list(CIFAR10_TOTALS.values()))
    accuracy = table_of(group["full_finetuning"], models, ["cifar10"])[0]
    top1 = np.array([group["imagenet_top1"][model] for model in models])
    scores = {"NCTI": total, "ImageNet top-1": top1, SUM: total + minmax(top1)}
    show(
        f"CIFAR-10, {len(models)} supervised models: weighted Kendall tau",
        ("",),
        {name: [f"{tau(score, accuracy):.3f}"] for name, score in scores.items()},
    )


def show_other_metrics(published, group, n_resamples):
    """Other metrics of ten models of the supervised group. It has no NCTI."""
    datasets = {"Cars": "cars", "Pet": "pets"} | {
        name: name.lower() for name in published["scores"] if name not in ("Cars", "Pet")
    }
    first = next(iter(published["scores"].values()))
    models = list(next(iter(first.values())))
    taus = {name: [] for name in ["ImageNet top-1", *first]}
    for name, scores in published["scores"].items():
        accuracy = table_of(group["full_finetuning"], models, [datasets[name]])[0]
        scores = {"ImageNet top-1": group["imagenet_top1"]} | scores
        for key, values in scores.items():
            taus[key].append(tau([values[model] for model in models], accuracy))
    order = sorted(taus, key=lambda key: -np.mean(taus[key]))
    show(
        f"Model Spider's baselines, {len(models)} models, {len(datasets)} data sets "
        "(NCTI is not among them): mean weighted Kendall tau",
        ("",),
        {key: [with_interval(taus[key], n_resamples)] for key in order},
    )


def main(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    default = ROOT.parent / "shared" / "published"
    parser.add_argument("--published", type=Path, default=default, help="folder of the figures")
    parser.add_argument("--resamples", type=int, default=10000, help="of data sets (10000)")
    parser.add_argument("--model-resamples", type=int, default=1000, help="of both (1000)")
    args = parser.parse_args(argv)
    names = ("tmlr_benchmark", "sfda_supervised", "sfda_ssl", "model_spider_baselines")
    missing = [name for name in names if not (args.published / f"{name}.json").is_file()]
    if missing:
        raise SystemExit(f"{args.published} lacks {', '.join(missing)} (.json).")
    benchmark, supervised, self_supervised, spider = (
        json.loads((args.published / f"{name}.json").read_text(encoding="utf-8")) for name in names
    )
    show_benchmark(benchmark["datasets"], args.resamples, args.model_resamples)
    show_cifar10(supervised)
    show_records("Supervised group", supervised, supervised["imagenet_top1"], args.resamples)
    show_records(
        "Self-supervised group",
        self_supervised,
        self_supervised["imagenet_linear_top1"],
        args.resamples,
    )
    show_other_metrics(spider, supervised, args.resamples)


if __name__ == "__main__":
    main()
