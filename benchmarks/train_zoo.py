"""Train the small models that the package ships for its demonstration (`sklearn-ncti demo`).

The models learn CIFAR-10 (Krizhevsky 2009) at its own 32x32 pixels, some for long and some
briefly, some on all classes and some on three, and two are left as they are drawn, so that
there is something to rank. Of every class a fixed tenth of the images is left out of training;
the accuracy that is recorded is measured on it, with the weights as they are shipped.

    python benchmarks/train_zoo.py --images cifar10_pretrain.zip

The images are a zip file or a folder in which every image lies in the folder of its class. An
interrupted run goes on from its last whole epoch, and finished entries are left as they are.
Equal seeds give equal weights on one machine with one number of threads.
"""

import argparse
import dataclasses
import hashlib
import io
import json
import math
import os
import platform
import shutil
import time
import zipfile
from pathlib import Path, PurePosixPath

import numpy as np
import safetensors.torch
import timm
import torch
from PIL import Image
from torch.nn import functional

ROOT = Path(__file__).resolve().parents[1]
ZOO = ROOT / "sklearn_ncti" / "datasets" / "zoo"
IMAGES = ROOT.parent / "shared" / "real" / "images" / "cifar10_pretrain.zip"

SIZE = 32
MEAN, STD = 0.5, 0.25
BATCH = 128
PADDING = 4
WEIGHT_DECAY = 0.05
WARM_UP = 0.15
HELD_OUT = 0.1
SPLIT_SEED = 0


@dataclasses.dataclass(frozen=True)
class Entry:
    """One model of the zoo: what it is and how it is trained."""

    name: str
    architecture: str
    # Strides are lowered where the architecture allows it: at its own, 32x32 pixels would
    # shrink to a single place before the last stage.
    model_args: dict
    epochs: int
    classes: tuple[str, ...] | None = None
    learning_rate: float = 2e-3
    seed: int = 0


ENTRIES = [
    Entry("resnet-all-long", "test_resnet", {"output_stride": 8}, epochs=12),
    Entry("convnext-all-long", "test_convnext", {"patch_size": 2, "output_stride": 16}, epochs=8),
    Entry(
        "vit-all-short",
        "test_vit",
        {"img_size": SIZE, "patch_size": 4},
        epochs=1,
        learning_rate=1e-3,
    ),
    Entry("efficientnet-all-short", "test_efficientnet", {"output_stride": 8}, epochs=1),
    Entry(
        "byobnet-animals",
        "test_byobnet",
        {"output_stride": 8},
        epochs=20,
        classes=("cat", "dog", "horse"),
    ),
    Entry(
        "nfnet-vehicles",
        "test_nfnet",
        {"output_stride": 8},
        epochs=15,
        classes=("airplane", "automobile", "ship"),
        learning_rate=1e-3,
    ),
    Entry("resnet-random", "test_resnet", {"output_stride": 8}, epochs=0),
    Entry("vit-random", "test_vit", {"img_size": SIZE, "patch_size": 4}, epochs=0),
]


def write(path, content):
    """Write bytes or text so that the file is complete or absent."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # The number of the process keeps runs apart that train two entries side by side.
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    part.write_bytes(content.encode() if isinstance(content, str) else content)
    os.replace(part, path)


def write_json(path, content):
    write(path, json.dumps(content, indent=1) + "\n")


def is_image(name):
    return name.lower().endswith((".jpg", ".jpeg", ".png"))


def read_source(source, work):
    """Decode all images once: uint8 pixels, class codes and the names of the classes."""
    source = Path(source).resolve()
    stamp = f"{source} {source.stat().st_size} {source.stat().st_mtime_ns}"
    cache = work / f"images-{hashlib.sha256(stamp.encode()).hexdigest()[:16]}.npz"
    if not cache.is_file():
        if source.is_dir():
            found = (path for path in source.rglob("*") if is_image(path.name))
            files = {path.relative_to(source).as_posix(): path.read_bytes() for path in found}
        else:
            with zipfile.ZipFile(source) as archive:
                files = {name: archive.read(name) for name in archive.namelist() if is_image(name)}
        names = sorted(files)
        if not names:
            raise SystemExit(f"{source} holds no images in folders of classes.")
        pixels = np.empty((len(names), SIZE, SIZE, 3), dtype=np.uint8)
        for row, name in enumerate(names):
            with Image.open(io.BytesIO(files[name])) as image:
                pixels[row] = np.asarray(image.convert("RGB").resize((SIZE, SIZE)))
        labels = np.array([PurePosixPath(name).parent.name for name in names])
        buffer = io.BytesIO()
        np.savez(buffer, pixels=pixels, labels=labels)
        write(cache, buffer.getvalue())
    with np.load(cache) as stored:
        pixels, labels = stored["pixels"], stored["labels"]
    classes, codes = np.unique(labels, return_inverse=True)
    return pixels, codes, classes.tolist()


def held_out_rows(codes):
    """Mark the fixed tenth of every class that no entry is trained on."""
    rng = np.random.default_rng(SPLIT_SEED)
    held_out = np.zeros(len(codes), dtype=bool)
    for code in np.unique(codes):
        rows = np.flatnonzero(codes == code)
        held_out[rng.permutation(rows)[: max(1, round(HELD_OUT * len(rows)))]] = True
    return held_out


def build(entry, n_classes):
    """Give the network at its seed's random weights."""
    torch.manual_seed(entry.seed)
    return timm.create_model(entry.architecture, num_classes=n_classes, **entry.model_args)


def augment(pixels, generator):
    """Crop at random after padding, flip at random, normalise; (n, h, w, 3) to (n, 3, h, w)."""
    n = len(pixels)
    padded = functional.pad(pixels, (0, 0, PADDING, PADDING, PADDING, PADDING))
    places = torch.arange(SIZE)
    top, left = torch.randint(0, 2 * PADDING + 1, (2, n, 1), generator=generator)
    flip = torch.rand(n, 1, generator=generator) < 0.5
    rows = (top + places).to(pixels.device)
    columns = (left + torch.where(flip, places.flip(0), places)).to(pixels.device)
    image = torch.arange(n, device=pixels.device)[:, None, None]
    crops = padded[image, rows[:, :, None], columns[:, None, :]]
    return ((crops.float() / 255 - MEAN) / STD).permute(0, 3, 1, 2)


def learning_rate_at(done, entry):
    """One cycle: a linear rise, then a cosine down to zero; `done` runs from 0 to 1."""
    if done < WARM_UP:
        return entry.learning_rate * max(done, 1e-3) / WARM_UP
    return entry.learning_rate * (1 + math.cos(math.pi * (done - WARM_UP) / (1 - WARM_UP))) / 2


def train_epoch(module, optimizer, pixels, codes, entry, epoch):
    """Train for one epoch, whose random numbers depend on nothing but seed and epoch."""
    generator = torch.Generator().manual_seed(1000 * entry.seed + epoch)
    torch.manual_seed(1000 * entry.seed + epoch)
    module.train()
    order = torch.randperm(len(codes), generator=generator)
    # A last batch of a few rows would give batch normalisation poor statistics.
    batches = (
        order.split(BATCH) if len(order) < BATCH else order.split(BATCH)[: len(order) // BATCH]
    )
    total = 0.0
    for step, batch in enumerate(batches):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate_at((epoch + step / len(batches)) / entry.epochs, entry)
        batch = batch.to(pixels.device)
        loss = functional.cross_entropy(module(augment(pixels[batch], generator)), codes[batch])
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimizer.step()
        total += loss.item()
    return total / len(batches)


def train(entry, pixels, codes, n_classes, checkpoint, device):
    """Train an entry from its last checkpoint on; give the network and what it took."""
    module = build(entry, n_classes).to(device, memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(module.parameters(), weight_decay=WEIGHT_DECAY)
    recipe = json.dumps(dataclasses.asdict(entry))
    begin, seconds, cpu_seconds = 0, 0.0, 0.0
    if checkpoint.is_file():
        state = torch.load(checkpoint, map_location=device, weights_only=True)
        if state["recipe"] == recipe:
            module.load_state_dict(state["module"])
            optimizer.load_state_dict(state["optimizer"])
            begin, seconds, cpu_seconds = state["epochs"], state["seconds"], state["cpu_seconds"]
    pixels, codes = torch.as_tensor(pixels).to(device), torch.as_tensor(codes).to(device)
    for epoch in range(begin, entry.epochs):
        start, cpu_start = time.perf_counter(), time.process_time()
        loss = train_epoch(module, optimizer, pixels, codes, entry, epoch)
        seconds += time.perf_counter() - start
        cpu_seconds += time.process_time() - cpu_start
        print(f"{entry.name}: epoch {epoch + 1}/{entry.epochs}, loss {loss:.3f}", flush=True)
        buffer = io.BytesIO()
        state = {
            "recipe": recipe,
            "module": module.state_dict(),
            "optimizer": optimizer.state_dict(),
            "epochs": epoch + 1,
            "seconds": seconds,
            "cpu_seconds": cpu_seconds,
        }
        torch.save(state, buffer)
        write(checkpoint, buffer.getvalue())
    return module, {"train_seconds": round(seconds, 1), "train_cpu_seconds": round(cpu_seconds, 1)}


def config_of(entry, module, labels):
    """Give the config.json that timm reads."""
    return {
        "architecture": entry.architecture,
        "num_classes": len(labels),
        "num_features": module.num_features,
        "model_args": entry.model_args,
        "pretrained_cfg": {
            "tag": entry.name,
            "input_size": [3, SIZE, SIZE],
            "fixed_input_size": "img_size" in entry.model_args,
            "interpolation": "bilinear",
            "crop_pct": 1.0,
            "crop_mode": "center",
            "mean": [MEAN] * 3,
            "std": [STD] * 3,
            "num_classes": len(labels),
            "first_conv": module.pretrained_cfg["first_conv"],
            "classifier": module.pretrained_cfg["classifier"],
        },
        "label_names": labels,
    }


def half(tensor):
    """Give a tensor as it is shipped: floating numbers in 16 bits."""
    tensor = tensor.detach().cpu().contiguous()
    return tensor.half() if tensor.is_floating_point() else tensor


@torch.inference_mode()
def measure(folder, pixels, codes, device):
    """Accuracy of the weights in a folder, with the preprocessing that it asks for."""
    module = timm.create_model(f"local-dir:{folder}", pretrained=True).eval().to(device)
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(module))
    right = 0
    for start in range(0, len(codes), 500):
        images = [transform(Image.fromarray(image)) for image in pixels[start : start + 500]]
        predicted = module(torch.stack(images).to(device)).argmax(1).cpu().numpy()
        right += int((predicted == codes[start : start + 500]).sum())
    return right / len(codes)


def make(entry, source, output, work, device):
    """Train one entry and write its folder; config.json comes last and says that it is done."""
    pixels, codes, classes = source
    recipe = json.loads(json.dumps(dataclasses.asdict(entry)))
    folder = output / entry.name
    record = {"name": entry.name, "recipe": recipe, "batch_size": BATCH}
    if entry.epochs == 0:
        module = build(entry, 0)
        config = config_of(entry, module, [])
        record |= {"classes": [], "source_accuracy": None}
    else:
        chosen = list(entry.classes or classes)
        code_of = np.full(len(classes), -1)
        code_of[[classes.index(name) for name in chosen]] = np.arange(len(chosen))
        codes = code_of[codes]
        held_out = held_out_rows(source[1])
        rows = np.flatnonzero(~held_out & (codes >= 0))
        tests = np.flatnonzero(held_out & (codes >= 0))
        checkpoint = work / f"{entry.name}.pt"
        module, took = train(entry, pixels[rows], codes[rows], len(chosen), checkpoint, device)
        config = config_of(entry, module, chosen)
        weights = {name: half(tensor) for name, tensor in module.state_dict().items()}
        # Measured in the work folder, so that nothing unfinished looks finished.
        trial = work / entry.name
        for place in (trial, folder):
            content = safetensors.torch.save(weights, metadata={"format": "pt"})
            write(place / "model.safetensors", content)
        write_json(trial / "config.json", config)
        record |= {
            "classes": chosen,
            "n_train": len(rows),
            "n_test": len(tests),
            "source_accuracy": round(measure(trial, pixels[tests], codes[tests], device), 4),
            **took,
            "device": device.type,
            "threads": torch.get_num_threads(),
        }
        shutil.rmtree(trial)
        checkpoint.unlink(missing_ok=True)
    record["n_parameters"] = sum(parameter.numel() for parameter in module.parameters())
    record["versions"] = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "timm": timm.__version__,
    }
    write_json(folder / "config.json", {**config, "record": record})


def read_record(entry, output):
    """Give the record of an entry that is finished with this very recipe, else None."""
    file = output / entry.name / "config.json"
    if not file.is_file():
        return None
    record = json.loads(file.read_text(encoding="utf-8"))["record"]
    same = record["recipe"] == json.loads(json.dumps(dataclasses.asdict(entry)))
    return record if same else None


def write_list(entries, output):
    """Write zoo.json and README.md from the records of all finished entries."""
    records = [record for entry in entries if (record := read_record(entry, output))]
    for record in records:
        record["pretrained"] = record["recipe"]["epochs"] > 0
        weights = output / record["name"] / "model.safetensors"
        record["weight_bytes"] = weights.stat().st_size if record["pretrained"] else 0
    write_json(output / "zoo.json", records)
    rows = []
    for record in records:
        recipe, accuracy = record["recipe"], record["source_accuracy"]
        trained = accuracy is not None
        rows.append(
            [
                record["name"],
                f"`{recipe['architecture']}`",
                f"{record['n_parameters']:,}",
                f"{len(record['classes'])}" if trained else "-",
                f"{recipe['epochs']}",
                f"{100 * accuracy:.1f}" if trained else "-",
                f"{record['train_cpu_seconds']:.0f}" if trained else "-",
                f"{record['weight_bytes'] / 1000:.0f}" if trained else "-",
            ]
        )
    heads = ["name", "timm architecture", "parameters", "classes", "epochs"]
    heads += ["accuracy, %", "training, CPU s", "weights, kB"]
    table = "\n".join(f"| {' | '.join(row)} |" for row in [heads, ["---"] * len(heads), *rows])
    subsets = "; ".join(
        f"`{record['name']}`: {', '.join(record['classes'])}"
        for record in records
        if record["recipe"]["classes"]
    )
    total = sum(record["weight_bytes"] for record in records) / 1e6
    write(output / "README.md", README.format(table=table, subsets=subsets, total=total))


README = """\
# A tiny zoo of pre-trained models

Written by `benchmarks/train_zoo.py`, the table included.

Small `timm` models for the demonstration of this package, trained by it on CIFAR-10 (Krizhevsky,
"Learning Multiple Layers of Features from Tiny Images", 2009; JPEG copies of its 50,000 training
images) at 32x32 pixels. They are of deliberately different quality and good for nothing else:
trained for long or briefly, on all ten classes or on three, and two are left at their random
initial weights (these have no file of weights).

{table}

Classes of those trained on three: {subsets}.

* Accuracy: on the tenth of the images of every class that was kept out of all training (a fixed
  stratified draw; of the classes of the model), with the 16-bit weights of this folder, loaded by
  `timm.create_model("local-dir:...", pretrained=True)`, under the model's own evaluation
  preprocessing. It is not the accuracy on the official test set.
* Training: AdamW, one cycle of the learning rate, random crops and flips; the recipe, the seed,
  the times and the versions of each entry are in its `config.json` under `record`, and all of
  them in `zoo.json`. CPU seconds are those of the training process, over all its threads.
* Weights: 16-bit floating numbers, {total:.2f} MB in all. Licence: BSD-3-Clause, as the package.
* `finetuned.json` holds what fine-tuning each of them on handwritten digits gives; it is written
  by `benchmarks/finetune_zoo.py`, with its protocol.
"""


def resolve_device(name):
    """Give the torch device; "auto" is a GPU where there is one."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def parse(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--images", default=IMAGES, type=Path, help="zip file or folder")
    parser.add_argument("--output", default=ZOO, type=Path, help="folder of the zoo")
    parser.add_argument(
        "--work", default=ROOT / "build" / "zoo", type=Path, help="checkpoints, decoded images"
    )
    parser.add_argument("--only", choices=[entry.name for entry in ENTRIES], help="one entry")
    parser.add_argument("--epochs", type=int, help="other epochs than those of the entry")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, help="threads of torch on the CPU")
    return parser.parse_args(argv)


def main(argv=None):
    options = parse(argv)
    if options.threads:
        torch.set_num_threads(options.threads)
    device = resolve_device(options.device)
    entries = [
        dataclasses.replace(entry, epochs=options.epochs)
        if options.epochs and entry.epochs
        else entry
        for entry in ENTRIES
    ]
    source = None
    with torch.backends.cudnn.flags(deterministic=True, benchmark=False):
        for entry in entries:
            if options.only not in (None, entry.name) or read_record(entry, options.output):
                continue
            if source is None:
                source = read_source(options.images, options.work)
            make(entry, source, options.output, options.work, device)
    write_list(entries, options.output)


if __name__ == "__main__":
    main()
