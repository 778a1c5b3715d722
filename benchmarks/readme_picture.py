"""Draw the picture of the README: photographs of each class, and the ranking of models on them.

    python benchmarks/readme_picture.py IMAGES MODELS

IMAGES contains the folders train and test, each with one folder for each class. MODELS contains
folders that timm reads as local-dir: models. The models are ranked on some of the photographs in
train. As a check that the ranking does not see, a logistic regression is fitted to the features of
the same photographs, and its accuracy is measured on all in test. Everything that is drawn is
printed as well.
"""

import argparse
from pathlib import Path

import numpy as np
from joblib import Memory
from matplotlib.figure import Figure
from PIL import Image, ImageOps
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_ncti import RankingDisplay, TimmBackbone, load_image_folder, rank_features

ROOT = Path(__file__).resolve().parents[1]
OUTPUT = ROOT / "docs" / "_static" / "ranking.png"
THUMBNAIL = 96
DPI = 120


def extract(folder, paths):
    """Features of all images under one model."""
    return TimmBackbone(f"local-dir:{folder}").fit_transform(paths)


def probe_accuracy(train, y, test, y_test):
    """Accuracy in per cent of a logistic regression on features, with images it has not seen."""
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=2000))
    return 100 * probe.fit(train, y).score(test, y_test)


def thumbnails(paths, y):
    """The first photograph of each class, cropped to a square."""
    for label in np.unique(y):
        with Image.open(paths[np.flatnonzero(y == label)[0]]) as image:
            yield label, ImageOps.fit(image.convert("RGB"), (THUMBNAIL, THUMBNAIL))


def draw(ranking, accuracies, photographs, title):
    """Photographs in a row, and below them the ranking with the accuracies next to it."""
    figure = Figure(figsize=(8.2, 5.0), dpi=DPI, layout="constrained")
    top, below = figure.subfigures(2, 1, height_ratios=(1, 3.2))
    top.suptitle(title, fontsize=10)
    for ax, (label, photograph) in zip(
        top.subplots(1, len(photographs)), photographs, strict=True
    ):
        ax.imshow(photograph)
        ax.set_title(label, fontsize=8, pad=3)
        ax.set_axis_off()
    ax = below.subplots()
    RankingDisplay.from_ranking(ranking).plot(ax)
    for row, name in enumerate(ranking.names):
        ax.annotate(
            f"{accuracies[name]:.1f} %",
            (1.03, row),
            xycoords=ax.get_yaxis_transform(),
            va="center",
        )
    ax.annotate(
        "accuracy of\na linear probe",
        (1.03, -0.75),
        xycoords=ax.get_yaxis_transform(),
        va="bottom",
        fontsize=8,
    )
    return figure


def save(figure, output):
    """Save with few colours: pages load it, and photographs are small here."""
    figure.savefig(output)
    with Image.open(output) as image:
        few = image.convert("RGB").quantize(112, dither=Image.Dither.NONE)
    few.save(output, optimize=True)


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("images", type=Path)
    parser.add_argument("models", type=Path)
    parser.add_argument("--limit-per-class", type=int, default=100)
    parser.add_argument("--output", type=Path, default=OUTPUT)
    parser.add_argument("--cache", help="folder that keeps features from one run to the next")
    args = parser.parse_args(argv)
    paths, y = load_image_folder(args.images / "train", limit_per_class=args.limit_per_class)
    test_paths, y_test = load_image_folder(args.images / "test")
    features = Memory(args.cache, verbose=0).cache(extract)
    train, accuracies = {}, {}
    for folder in sorted(path for path in args.models.iterdir() if path.is_dir()):
        train[folder.name] = features(folder, paths)
        accuracies[folder.name] = probe_accuracy(
            train[folder.name], y, features(folder, test_paths), y_test
        )
    ranking = rank_features(train, y, n_resamples=200, random_state=0)
    print(ranking)
    for name in ranking.names:
        print(f"{name}: accuracy of the probe {accuracies[name]:.1f} %")
    print({name: round(value, 3) for name, value in ranking.agreement(accuracies).items()})
    title = f"{len(train)} pre-trained models ranked on {len(paths):,} labelled photographs"
    save(draw(ranking, accuracies, list(thumbnails(paths, y)), title), args.output)
    print(f"wrote {args.output}: {args.output.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
