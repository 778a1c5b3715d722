"""Time the way from images to features, and rankings of several candidates of one geometry.

    python benchmarks/extraction.py [--device cuda] [--models resnet50 vit_base_patch16_224]

Networks are untrained (weights do not change the time) and images are made up (smooth noise,
saved as JPEG). First table, images per second over those of a bare `model(x)` loop on tensors
that lie in memory already, normalised, on the device, in batches of the same size:

    prepared   TimmBackbone, from images that are decoded and resized already
    files      TimmBackbone, from the files
    timm       the same loop over timm's loader with its `create_transform`, from the files

Second table: seconds of ranking m candidates of one geometry, over the sum of m bare loops and
one preparation of all images. The sides take turns, and what counts is the median over the turns
of the ratio within one: the speed of a machine that others use as well changes from turn to turn.
"""

import argparse
import os
import tempfile
import time
import warnings
from pathlib import Path

# As the command line does: threads that wait long do not keep the cores from the others.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("GOMP_SPINCOUNT", "10000")

import numpy as np
import timm
import torch
from PIL import Image

from sklearn_ncti import ModelSelector, NCTIScorer, TimmBackbone
from sklearn_ncti.backbones._prepared import PreparedImages


def write_images(folder, n, width=500, height=375):
    rng = np.random.default_rng(0)
    paths = []
    for i in range(n):
        coarse = Image.fromarray(rng.integers(0, 256, (24, 32, 3), dtype=np.uint8))
        paths.append(str(Path(folder, f"{i:05}.jpg")))
        coarse.resize((width, height), Image.Resampling.BICUBIC).save(paths[-1], quality=90)
    return paths


def prepare(backbone, paths):
    return PreparedImages(
        paths, backbone.preparation(), num_workers=None, on_bad_image="raise", budget=2**33
    ).complete()


def wait(device):
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds(function):
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


class Bare:
    """A loop over batches in memory, with what the backbone uses: precision and layout."""

    def __init__(self, backbone, prepared, batch_size):
        network = backbone._load_network((backbone.output,))
        self.module, self.device = network.module, network.device
        self.autocast = torch.autocast(
            self.device.type, dtype=torch.bfloat16, enabled=network.bfloat16
        )
        with torch.inference_mode():
            self.batches = [
                network._scaled(network._to_device(batch)).clone()
                for batch in prepared.batches(batch_size)
            ]

    def __call__(self, batches=None):
        """Give the features of the batches."""
        with torch.inference_mode(), self.autocast:
            rows = [self.module(b.to(self.device)) for b in batches or self.batches]
        wait(self.device)
        return torch.cat(rows).float().cpu()


def timm_loader(backbone, paths, batch_size):
    class Files(torch.utils.data.Dataset):
        transform = timm.data.create_transform(**backbone._data_config(), is_training=False)

        def __len__(self):
            return len(paths)

        def __getitem__(self, index):
            with Image.open(paths[index]) as image:
                return self.transform(image.convert("RGB"))

    return torch.utils.data.DataLoader(
        Files(), batch_size=batch_size, num_workers=min(os.cpu_count() or 1, 8)
    )


def throughput(args, paths):
    print(
        f"{len(paths)} images, batches of {args.batch_size}, {args.device}: images/s of the bare"
    )
    print("loop, and of the others over it (above 1 is faster than the bare loop)")
    print(f"{'model':28}{'pixels':>7}{'bare':>9}{'prepared':>10}{'files':>8}{'timm':>8}")
    for name in args.models:
        backbone = TimmBackbone(
            name, pretrained=False, device=args.device, batch_size=args.batch_size
        )
        backbone.fit(paths[:1])
        prepared = prepare(backbone, paths)
        bare = Bare(backbone, prepared, args.batch_size)
        loader = timm_loader(backbone, paths, args.batch_size)
        sides = {
            "bare": bare,
            "prepared": lambda b=backbone, p=prepared: b.extract(
                paths, prepared=p, on_bad_image="raise"
            ),
            "files": lambda b=backbone: b.transform(paths),
            "timm": lambda b=bare, x=loader: b(x),
        }
        bare(bare.batches[:1])
        times = {side: [] for side in sides}
        for _ in range(args.repeat):
            for side, function in sides.items():
                times[side].append(seconds(function))
        turns = {side: np.array(values) for side, values in times.items()}
        ratios = [np.median(turns["bare"] / turns[side]) for side in ("prepared", "files", "timm")]
        print(
            f"{name:28}{prepared.geometry.shape[0]:7}{len(paths) / np.median(turns['bare']):9.1f}"
            f"{ratios[0]:10.2f}{ratios[1]:8.2f}{ratios[2]:8.2f}",
            flush=True,
        )
        backbone.release()


def rankings(args, paths):
    labels = np.arange(len(paths)) % 4
    backbones = [
        TimmBackbone(
            args.ranked,
            pretrained=False,
            device=args.device,
            batch_size=args.batch_size,
            random_state=i,
        )
        for i in range(max(args.candidates))
    ]
    backbones[0].fit(paths[:1])
    prepared = prepare(backbones[0], paths)
    bare = Bare(backbones[0], prepared, args.batch_size)
    bare(bare.batches[:1])
    print(f"\n{args.ranked}, {len(paths)} images: seconds of a ranking of m candidates, over m")
    print("bare loops and one preparation; and how its seconds are split")
    print(f"{'m':>3}{'ranking':>9}{'ratio':>7}{'decoding':>10}{'device':>8}{'scoring':>9}")
    whole = {m: [] for m in args.candidates}
    for _ in range(args.repeat):
        for m in args.candidates:
            # Half of the loops before the ranking and half after it.
            least = seconds(lambda: prepare(backbones[0], paths))
            least += sum(seconds(bare) for _ in range(m // 2))
            selector = ModelSelector(
                [(f"m{i}", backbone) for i, backbone in enumerate(backbones[:m])],
                scorer=NCTIScorer(16),
                refit=False,
            )
            time_ = seconds(lambda s=selector: s.fit(paths, labels))
            least += sum(seconds(bare) for _ in range(m - m // 2))
            columns = ("decode_time", "device_time", "score_time")
            split = [selector.results_[column].sum() for column in columns]
            whole[m].append((time_, time_ / least, *split))
    for m, turns in whole.items():
        time_, ratio, *split = np.median(turns, axis=0)
        print(f"{m:3}{time_:9.1f}{ratio:7.2f}{split[0]:10.1f}{split[1]:8.1f}{split[2]:9.1f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names = ["mobilenetv3_small_100", "mobilenetv2_100", "resnet18", "vit_tiny_patch16_224"]
    parser.add_argument("--models", nargs="+", default=[*names, "test_resnet"])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--n-images", type=int, default=256)
    parser.add_argument("--repeat", type=int, default=5, help="turns (default: 5)")
    parser.add_argument("--ranked", default="mobilenetv3_small_100", help="the candidate, m times")
    parser.add_argument("--candidates", nargs="+", type=int, default=[1, 2, 4, 8])
    args = parser.parse_args()
    warnings.filterwarnings("ignore", category=UserWarning)
    if args.device.startswith("cuda"):
        print(torch.cuda.get_device_name(args.device))
    with tempfile.TemporaryDirectory() as folder:
        paths = write_images(folder, args.n_images)
        throughput(args, paths)
        rankings(args, paths)


if __name__ == "__main__":
    main()
