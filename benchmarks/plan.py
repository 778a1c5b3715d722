"""Compare the times that a plan estimates with those that networks take on the CPU.

    python benchmarks/plan.py
    python benchmarks/plan.py --models swin_tiny_patch4_window7_224 --images 16

Networks are untrained (weights do not change the time). They are predicted from the catalogue and
from the calibration network alone, which runs directly before and after each of them: on a
machine that others use, the speed of one minute is not that of the next. The estimate takes
the mean of both. "estimate" and "true" are the seconds from loading the network to the last
row of features; "network" is the ratio without loading and reading.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

# As the command line sets it, before torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("GOMP_SPINCOUNT", "10000")

import numpy as np
from PIL import Image

from sklearn_ncti import TimmBackbone
from sklearn_ncti._selection.plan import Speed, facts_of_candidates, measure_speed

MODELS = [
    "mobilenetv3_small_050",
    "efficientnet_b0",
    "resnet18",
    "deit_tiny_patch16_224",
    "convnext_tiny",
    "resnet50",
]


def write_photographs(folder, count):
    """Write photographs of 500 x 375 pixels, and return their paths."""
    rng = np.random.default_rng(0)
    paths = []
    for i in range(count):
        small = rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)
        paths.append(str(Path(folder, f"{i:03}.jpg")))
        Image.fromarray(small).resize((500, 375)).save(paths[-1])
    return paths


def measure(name, paths):
    """Return estimate and truth in seconds, and the ratio of both for the network alone."""
    backbone = TimmBackbone(name, pretrained=False, device="cpu")
    (facts,) = facts_of_candidates([(name, backbone)])
    before = measure_speed(paths, "cpu")
    start = time.perf_counter()
    extraction = backbone.extract(paths, on_bad_image="raise")
    true = time.perf_counter() - start
    backbone.release()
    after = measure_speed(paths, "cpu")
    speed = Speed((before.per_work + after.per_work) / 2, (before.per_read + after.per_read) / 2)
    network = len(paths) * facts.work * speed.per_work
    estimate = facts.seconds(len(paths), speed) + len(paths) * speed.per_read
    return estimate, true, network / extraction.device_time, before.per_work, after.per_work


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--images", type=int, default=40)
    args = parser.parse_args()
    # The first network of a process loads libraries.
    with tempfile.TemporaryDirectory() as folder:
        paths = write_photographs(folder, args.images)
        TimmBackbone("test_resnet", pretrained=False, device="cpu").fit(paths[:1])
        print(
            f"{args.images} photographs".ljust(32)
            + "estimate s  true s  estimate/true  network  ms per work before, after"
        )
        ratios = []
        for name in args.models:
            estimate, true, network, *speeds = measure(name, paths)
            ratios.append(estimate / true)
            print(
                f"{name:32}{estimate:10.2f}{true:8.2f}{estimate / true:15.2f}{network:9.2f}"
                f"  {1e3 * speeds[0]:.0f}, {1e3 * speeds[1]:.0f}",
                flush=True,
            )
    within = sum(0.5 <= ratio <= 2 for ratio in ratios)
    print(
        f"{within} of {len(ratios)} within a factor of 2; geometric mean "
        f"{np.exp(np.mean(np.log(ratios))):.2f}"
    )


if __name__ == "__main__":
    main()
