"""Fine-tune every model of the shipped zoo on the digits that the demonstration ranks it for.

    python benchmarks/finetune_zoo.py

Each network is trained as a whole, with a new linear head, on few of scikit-learn's
handwritten digits, at every learning rate and seed. The mean accuracy over the seeds on
validation images chooses the learning rate; the accuracies on test images at that learning
rate are reported. Every run is saved in the work folder as soon as it ends, so that an
interrupted script goes on; finetuned.json is written once all models of the zoo have all
runs. Equal seeds give equal numbers on one machine with one number of threads.
"""

import argparse
import hashlib
import json
import math
import os
import platform
import time
from itertools import product
from pathlib import Path

import numpy as np
import timm
import torch
from PIL import Image
from torch.nn import functional

from sklearn_ncti.datasets import load_digit_images

ROOT = Path(__file__).resolve().parents[1]
ZOO = ROOT / "sklearn_ncti" / "datasets" / "zoo"

LEARNING_RATES = (3e-4, 1e-3, 3e-3)
SEEDS = (0, 1, 2)
TRAIN_PER_CLASS, VALIDATION_PER_CLASS = 20, 30
SPLIT_SEED = 0
BATCH = 32
WEIGHT_DECAY = 0.01
WARM_UP = 0.1


def protocol_of(epochs):
    """Return what fixes the numbers; it is written next to them."""
    return {
        "target": "sklearn.datasets.load_digits, the images as 8-bit grey",
        "preprocessing": "the evaluation preprocessing of each model, without augmentation",
        "trained": "the whole network with a new linear head; random entries from the very "
        "weights that are ranked",
        "train_per_class": TRAIN_PER_CLASS,
        "validation_per_class": VALIDATION_PER_CLASS,
        "test": "all other images",
        "split": f"one stratified draw for all runs, seed {SPLIT_SEED}",
        "optimizer": "AdamW",
        "weight_decay": WEIGHT_DECAY,
        "schedule": f"linear rise over {WARM_UP:.0%} of the steps, then cosine to zero",
        "epochs": epochs,
        "batch_size": BATCH,
        "learning_rates": list(LEARNING_RATES),
        "seeds": list(SEEDS),
        "seed_sets": "the weights of the head and the order of the batches",
        "selection": "largest mean validation accuracy over the seeds; test accuracy and its "
        "sample standard deviation over the seeds at that learning rate",
    }


def write_json(path, content):
    """Write JSON so that the file is complete or absent."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    part.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    os.replace(part, path)


def split(labels):
    """Give the rows for training, validation and test."""
    rng = np.random.default_rng(SPLIT_SEED)
    parts = ([], [], [])
    for label in np.unique(labels):
        rows = rng.permutation(np.flatnonzero(labels == label))
        ends = [TRAIN_PER_CLASS, TRAIN_PER_CLASS + VALIDATION_PER_CLASS]
        for part, chosen in zip(parts, np.split(rows, ends), strict=True):
            part.append(chosen)
    return [np.concatenate(part) for part in parts]


def build(folder):
    """Give the network without a head: its weights, or those drawn as TimmBackbone draws them."""
    torch.manual_seed(0)
    pretrained = (folder / "model.safetensors").is_file()
    return timm.create_model(f"local-dir:{folder}", pretrained=pretrained, num_classes=0)


def prepare(module, images):
    """Put all images through the model's own evaluation preprocessing."""
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(module))
    return torch.stack([transform(Image.fromarray(image).convert("RGB")) for image in images])


def finetune(folder, inputs, labels, rows, learning_rate, seed, epochs):
    """Train on the rows of the first part."""
    module = build(folder)
    torch.manual_seed(seed)
    module.reset_classifier(int(labels.max()) + 1)
    module = module.to(inputs.device, memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(module.parameters(), weight_decay=WEIGHT_DECAY)
    generator = torch.Generator().manual_seed(seed)
    n_batches = max(1, len(rows) // BATCH)
    module.train()
    for epoch in range(epochs):
        # The few rows that fill no batch are left to another epoch.
        order = torch.as_tensor(rows)[torch.randperm(len(rows), generator=generator)]
        for step, batch in enumerate(order.split(BATCH)[:n_batches]):
            done = (epoch + step / n_batches) / epochs
            rise = max(done, 1e-3) / WARM_UP
            fall = (1 + math.cos(math.pi * (done - WARM_UP) / (1 - WARM_UP))) / 2
            for group in optimizer.param_groups:
                group["lr"] = learning_rate * (rise if done < WARM_UP else fall)
            batch = batch.to(inputs.device)
            loss = functional.cross_entropy(module(inputs[batch]), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return module.eval()


@torch.inference_mode()
def accuracy(module, inputs, labels, rows):
    """Share of the rows that the network gets right."""
    rows = torch.as_tensor(rows).to(inputs.device)
    right = sum(
        int((module(inputs[batch]).argmax(1) == labels[batch]).sum()) for batch in rows.split(256)
    )
    return round(right / len(rows), 4)


def read_runs(folder, work, epochs):
    """Give the finished runs of a model, and what tells them from those of another recipe."""
    # Other weights or another protocol make the runs that are there worthless.
    stamp = hashlib.sha256(json.dumps(protocol_of(epochs)).encode())
    for name in ("config.json", "model.safetensors"):
        if (folder / name).is_file():
            stamp.update((folder / name).read_bytes())
    stamp = stamp.hexdigest()
    file = work / f"{folder.name}.json"
    state = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return state["runs"] if state.get("stamp") == stamp else [], stamp


def missing_runs(runs):
    """Give the learning rates and seeds that have not been run."""
    finished = {(run["learning_rate"], run["seed"]) for run in runs}
    return [pair for pair in product(LEARNING_RATES, SEEDS) if pair not in finished]


def run_entry(folder, work, epochs, device):
    """Do the runs that a model lacks, and keep each in the work folder."""
    runs, stamp = read_runs(folder, work, epochs)
    missing = missing_runs(runs)
    if not missing:
        return
    images, labels = load_digit_images()
    train, validation, test = split(labels)
    inputs = prepare(build(folder), images).to(device, memory_format=torch.channels_last)
    targets = torch.as_tensor(labels).to(device)
    for learning_rate, seed in missing:
        start = time.perf_counter()
        module = finetune(folder, inputs, targets, train, learning_rate, seed, epochs)
        run = {
            "learning_rate": learning_rate,
            "seed": seed,
            "validation_accuracy": accuracy(module, inputs, targets, validation),
            "test_accuracy": accuracy(module, inputs, targets, test),
            "seconds": round(time.perf_counter() - start, 1),
        }
        runs.append(run)
        write_json(work / f"{folder.name}.json", {"stamp": stamp, "runs": runs})
        print(f"{folder.name}: {run}", flush=True)


def summarise(runs):
    """Choose the learning rate by validation, and give the test accuracy at it."""

    def at(rate, key):
        return [run[key] for run in runs if run["learning_rate"] == rate]

    best = max(LEARNING_RATES, key=lambda rate: np.mean(at(rate, "validation_accuracy")))
    test = at(best, "test_accuracy")
    return {
        "learning_rate": best,
        "validation_mean": round(float(np.mean(at(best, "validation_accuracy"))), 4),
        "test_mean": round(float(np.mean(test)), 4),
        "test_std": round(float(np.std(test, ddof=1)), 4) if len(test) > 1 else None,
        "runs": runs,
    }


def parse(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--zoo", default=ZOO, type=Path, help="folder of the zoo")
    parser.add_argument(
        "--work", default=ROOT / "build" / "finetune", type=Path, help="runs that are done"
    )
    parser.add_argument("--output", type=Path, help="default: finetuned.json in the zoo")
    parser.add_argument("--only", help="one model")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, help="threads of torch on the CPU")
    return parser.parse_args(argv)


def main(argv=None):
    options = parse(argv)
    records = json.loads((options.zoo / "zoo.json").read_text(encoding="utf-8"))
    names = [record["name"] for record in records]
    if options.only not in (None, *names):
        raise SystemExit(f"--only must be one of {', '.join(names)}")
    if options.threads:
        torch.set_num_threads(options.threads)
    device = options.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    with torch.backends.cudnn.flags(deterministic=True, benchmark=False):
        for name in names if options.only is None else [options.only]:
            run_entry(options.zoo / name, options.work, options.epochs, torch.device(device))
    entries = {}
    for name in names:
        runs, _ = read_runs(options.zoo / name, options.work, options.epochs)
        if missing_runs(runs):
            print(f"{name} lacks runs: finetuned.json is not written")
            return
        entries[name] = summarise(runs)
    environment = {
        "device": device,
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "timm": timm.__version__,
    }
    content = {"protocol": protocol_of(options.epochs), "environment": environment}
    output = options.output or options.zoo / "finetuned.json"
    write_json(output, {**content, "models": entries})


if __name__ == "__main__":
    main()
