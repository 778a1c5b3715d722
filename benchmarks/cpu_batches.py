"""Time the forward pass of timm models on the CPU in one batch and in parts of it.

    python benchmarks/cpu_batches.py

Networks are untrained (weights do not change the time). The sides take turns; the ratio is the
seconds of the whole batch over those of its parts, so that above 1 the parts are faster.
"""

import argparse
import time
from statistics import median

import timm
import torch

BATCH = 64


def seconds(model, batch, step):
    start = time.perf_counter()
    for part in batch.split(step):
        model(part)
    return time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names = ["mobilenetv2_100", "resnet18", "convnext_atto", "vit_tiny_patch16_224"]
    parser.add_argument("--models", nargs="+", default=names)
    parser.add_argument("--size", type=int, default=224, help="pixels on a side")
    parser.add_argument("--steps", nargs="+", type=int, default=[4, 8, 16, 32])
    parser.add_argument("--repeat", type=int, default=5)
    args = parser.parse_args()
    batch = torch.rand(BATCH, 3, args.size, args.size).to(memory_format=torch.channels_last)
    print(f"{BATCH} images in parts of    " + "".join(f"{step:>8}" for step in args.steps))
    for name in args.models:
        model = timm.create_model(name, num_classes=0).eval()
        times = {step: [] for step in [BATCH, *args.steps]}
        with torch.inference_mode():
            for step in times:
                seconds(model, batch, step)
            for _ in range(args.repeat):
                for step in times:
                    times[step].append(seconds(model, batch, step))
        whole = median(times[BATCH])
        ratios = "".join(f"{whole / median(times[step]):8.2f}" for step in args.steps)
        print(f"{name:25} {ratios}")


if __name__ == "__main__":
    main()
