"""Show the source attributes of the bundled models next to what they are worth on the digits.

    python benchmarks/source_attributes.py --images cifar10_pretrain.zip

The models were pre-trained on CIFAR-10 by train_zoo.py: four on all ten classes, one on three
animals, one on three vehicles, and two not at all. Their source attributes are measured on the
same number of images of each class, once on all ten classes for every model, and once on its own
classes for every trained model. Next to them stand the NCTI score on the digits and the accuracy
after fine-tuning on the digits. Spearman's rank correlations of each attribute with both follow.

The zip file holds every image in a folder of its class, as train_zoo.py takes it. By default,
the images are among those that the models were trained on.
"""

import argparse
import io
import itertools
import json
import zipfile
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image
from scipy.stats import spearmanr
from train_zoo import IMAGES, ZOO, held_out_rows, is_image

from sklearn_ncti import ModelSelector
from sklearn_ncti.datasets import load_digit_images, load_zoo, load_zoo_accuracies

COLUMNS = (
    "diversity",
    "compactness",
    "seli",
    "nc1",
    "cdnv",
    "class_separation",
    "source_score",
)
NOTE = """\
Published signs disagree. Galanti et al. (arXiv 2112.15121) find that a small CDNV on source
classes comes with better transfer. Kornblith et al. (arXiv 2010.16402) and Li et al. (arXiv
2212.12206) find that strongly separated, collapsed source classes transfer worse. {n} small
models of one source and one target cannot decide it."""


def read_images(path, per_class, held_out):
    """Decode the first images of each class that are, or are not, among the held-out ones."""
    with zipfile.ZipFile(path) as archive:
        names = sorted(name for name in archive.namelist() if is_image(name))
        classes = np.array([PurePosixPath(name).parent.name for name in names])
        chosen = held_out_rows(np.unique(classes, return_inverse=True)[1]) == held_out
        rows = [np.flatnonzero(chosen & (classes == c))[:per_class] for c in np.unique(classes)]
        rows = np.concatenate(rows)
        images = []
        for row in rows:
            with Image.open(io.BytesIO(archive.read(names[row]))) as image:
                images.append(np.asarray(image.convert("RGB")))
    return np.stack(images), classes[rows]


def on_all_classes(models, images, labels):
    """Source attributes of all models on all classes."""
    return ModelSelector(models).source_attributes(images, labels)


def on_own_classes(models, images, labels):
    """The same of each trained model on the classes that it was trained on.

    The score of the pool needs candidates measured on the same rows, and is left out.
    """
    records = json.loads((ZOO / "zoo.json").read_text(encoding="utf-8"))
    classes = {record["name"]: record["classes"] for record in records}
    found = []
    for name, backbone in models:
        if classes[name]:
            rows = np.isin(labels, classes[name])
            selector = ModelSelector([(name, backbone)])
            found.append(selector.source_attributes(images[rows], labels[rows]))
    columns = {key: np.concatenate([item[key] for item in found]) for key in found[0]}
    del columns["source_score"]
    return columns


def critical_rho(n):
    """Least size of Spearman's rho that fewer than 5 % of all orders of `n` values reach."""
    ranks = np.arange(n) - (n - 1) / 2
    orders = np.array(list(itertools.permutations(ranks)))
    sizes = np.abs(orders @ ranks) / (ranks @ ranks)
    values, counts = np.unique(sizes.round(12), return_counts=True)
    reached = np.cumsum(counts[::-1])[::-1] / len(orders)
    return float(values[reached < 0.05][0])


def print_table(title, columns, score, accuracy):
    """Print the attributes of each model, the best fine-tuned one first, and correlations."""
    names = columns["model"]
    shown = [name for name in COLUMNS if name in columns]
    scores, accuracies = (np.array([of[name] for name in names]) for of in (score, accuracy))
    print(f"\n{title}\n")
    heads = [*shown, "NCTI", "accuracy"]
    widths = [max(8, len(head)) for head in heads]
    cells = zip(heads, widths, strict=True)
    print(f"{'model':22}  " + "  ".join(f"{head:>{width}}" for head, width in cells))
    for i in np.argsort(-accuracies):
        values = [*(columns[name][i] for name in shown), scores[i], accuracies[i]]
        cells = zip(values, widths, strict=True)
        print(f"{names[i]:22}  " + "  ".join(f"{v:{width}.3f}" for v, width in cells))
    for label, truth in (("NCTI", scores), ("accuracy", accuracies)):
        rhos = [spearmanr(columns[name], truth).statistic for name in shown]
        cells = zip(rhos, widths, strict=False)
        print(f"{'rho with ' + label:22}  " + "  ".join(f"{v:{width}.2f}" for v, width in cells))
    print(
        f"\n{len(names)} models: rho is significant at 5 % from {critical_rho(len(names)):.2f} on."
    )


def main(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", default=IMAGES, type=Path, help="zip file of CIFAR-10")
    parser.add_argument("--per-class", type=int, default=300, help="images (default: 300)")
    parser.add_argument(
        "--held-out", action="store_true", help="images that no model was trained on"
    )
    args = parser.parse_args(argv)
    models = load_zoo()
    images, labels = read_images(args.images, args.per_class, args.held_out)
    selector = ModelSelector(models, refit=False).fit(*load_digit_images())
    score, accuracy = selector.ranking_.scores, load_zoo_accuracies()
    kind = "held out of training" if args.held_out else "of training"
    print(f"{args.per_class} images {kind} of each class of CIFAR-10")
    on_all = on_all_classes(models, images, labels)
    print_table("All ten classes", on_all, score, accuracy)
    on_own = on_own_classes(models, images, labels)
    print_table("The classes that each model was trained on", on_own, score, accuracy)
    print("\n" + NOTE.format(n=len(models)))


if __name__ == "__main__":
    main()
