"""Write the catalogue of pre-trained models from timm's published tables and the installed timm.

    python benchmarks/build_catalogue.py --results ../shared/timm --commit COMMIT

The folder has three tables of the folder ``results`` of huggingface/pytorch-image-models at
that commit (see ``TABLES``). The columns of the catalogue, and the rules by which some follow
from the name of a model, are described in ``sklearn_ncti.datasets.load_catalogue``.
"""

import argparse
import csv
import gzip
import io
import re
import sys
from pathlib import Path
from unittest.mock import patch

from sklearn_ncti.datasets import _catalogue

TABLES = {
    "accuracy": "results-imagenet.csv",
    "gpu": "benchmark-infer-amp-nchw-pt291-cu130-5090.csv",
    "cpu": "benchmark-infer-fp32-nchw-pt240-cpu-i9_10940x-dynamo.csv",
}
COMMIT = "aa4b5850c1543fa488abf260f18390eda46cf85d"
ROOT = Path(__file__).resolve().parents[1]

# Each rule is tried on "architecture.tag"; the first that matches decides.
SUPERVISION = {
    "labels": r"(?<!\.mim)[._](in1k|in12k|in21k|in22k|inw21k|bamboo)(_\d+)?$",
    "image-text": (
        r"clip|siglip|aimv2|beit3|tipsv2|vitamin|_pe_(core|lang|spatial)_"
        r"|florence|pali|gemma|qwen|deepseek|intern300m|openai|merged2b|mclip"
    ),
    "distilled": r"radio|eupe",
    "masks": r"samvit|sam2_hiera",
    "self-supervised": r"[._](dino|dinov[23]|lvd\d+m|sat\d+m|mae|fcmae|mim_.*|.*ijepa|seer)$"
    r"|sapiens2",
}
DATA_SETS = re.compile(
    r"(?:^|_)(in1k|in12k|in21k|in22k|inw21k|bamboo|jft|ig1b|yfcc100m|yfcc15m|cc12m|laion2b"
    r"|laion400m|laiona|datacomp1b|datacompxl|dfn2b|dfn5b|dfndr2b|webli|merged2b|m38m|m30m"
    r"|metaclip_400m|metaclip_2pt5b|lvd142m|lvd1689m|sat493m|sa1b)(?=_|$)"
)


def supervision_of(name):
    """What the last stage of training learned from, by the name of a model."""
    return next((kind for kind, rule in SUPERVISION.items() if re.search(rule, name)), "")


def pretraining_data_of(tag):
    """Name of the first data set that a tag names before fine-tuning, or nothing."""
    found = DATA_SETS.search(re.split(r"(?:^|_)ft_", tag)[0])
    return found[1] if found else ""


def read_table(path, size):
    """Rows by model and size of the images; a model has one row for each size."""
    with path.open(encoding="utf-8", newline="") as file:
        return {(row["model"], int(row[size])): row for row in csv.DictReader(file)}


def read_tables(folder):
    """All tables, by what they hold."""
    sizes = {"accuracy": "img_size", "gpu": "infer_img_size", "cpu": "infer_img_size"}
    return {kind: read_table(folder / TABLES[kind], size) for kind, size in sizes.items()}


def published_parameters(tables):
    """Number of parameters by model and by architecture; those of a tag first."""
    found = {}
    for kind in ("accuracy", "gpu", "cpu"):
        for (model, _), row in tables[kind].items():
            found.setdefault(model, absolute(row["param_count"]))
    return found


def absolute(millions):
    """A published number of millions, such as "1,013.01", as an integer."""
    return round(float(millions.replace(",", "")) * 1e6)


def count_parameters(architecture):
    """Number of parameters of a network that is built without memory for its weights."""
    import timm
    import torch

    # Weights without memory have no values, and to draw them takes most of the time.
    drawing = patch("timm.layers.weight_init._trunc_normal_", lambda tensor, *args: tensor)
    with torch.device("meta"), drawing:
        network = timm.create_model(architecture, pretrained=False)
    return sum(weight.numel() for weight in network.parameters())


def facts_of(config, tables, parameters):
    """Facts of one pre-trained tag that the tables or its configuration know."""
    name = f"{config.architecture}.{config.tag}"
    size = config.input_size[-1]
    test_size = (config.test_input_size or config.input_size)[-1]
    accuracy = tables["accuracy"].get((name, test_size), {})
    gpu, cpu = (tables[kind].get((config.architecture, size), {}) for kind in ("gpu", "cpu"))
    cost = gpu or cpu
    license = config.license or ""
    return {
        "name": name,
        "architecture": config.architecture,
        "top1": accuracy.get("top1", ""),
        "n_parameters": parameters.get(name) or parameters[config.architecture],
        "gmacs": cost.get("infer_gmacs", ""),
        "activations": absolute(cost["infer_macts"]) if cost else "",
        "input_size": size,
        "test_input_size": test_size,
        "gpu_throughput": gpu.get("infer_samples_per_sec", ""),
        "cpu_throughput": cpu.get("infer_samples_per_sec", ""),
        "license": "" if license == "unknown" else license,
        "supervision": supervision_of(name),
        "pretrained_on": pretraining_data_of(config.tag),
    }


def build(tables):
    """Facts of every pre-trained tag of the installed timm, sorted by name."""
    from timm.models import get_pretrained_cfg, list_pretrained

    parameters = published_parameters(tables)
    rows = []
    for name in sorted(list_pretrained()):
        config = get_pretrained_cfg(name, allow_unregistered=False)
        architecture = config.architecture
        if architecture not in parameters:
            parameters[architecture] = count_parameters(architecture)
        default = get_pretrained_cfg(architecture).tag == config.tag
        rows.append(facts_of(config, tables, parameters) | {"is_default": int(default)})
    return rows


def write(rows, path, comments):
    """Write the file; equal facts give an equal file."""
    text = io.StringIO()
    text.writelines(f"# {comment}\n" for comment in comments)
    writer = csv.DictWriter(text, list(_catalogue._TYPES), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    path.write_bytes(gzip.compress(text.getvalue().encode(), mtime=0))


def main(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    default = ROOT.parent / "shared" / "timm"
    parser.add_argument("--results", type=Path, default=default, help="folder of the tables")
    parser.add_argument("--commit", default=COMMIT, help="commit that the tables are of")
    parser.add_argument("--output", type=Path, default=_catalogue._FILE)
    args = parser.parse_args(argv)
    import timm

    rows = build(read_tables(args.results))
    comments = (
        f"Published facts of the pre-trained models of timm {timm.__version__}.",
        "Source: huggingface/pytorch-image-models, folder results, commit "
        f"{args.commit}, and the configurations of timm; license Apache-2.0.",
    )
    write(rows, args.output, comments)
    known = sum(row["top1"] != "" for row in rows)
    sys.stdout.write(
        f"{args.output}: {len(rows)} models, {known} with a top-1 accuracy, "
        f"{args.output.stat().st_size / 1000:.0f} kB\n"
    )


if __name__ == "__main__":
    main()
