"""Measure how scoring behaves at its limits: memory, length, few rows, and a busy machine.

Every part prints what was measured; nothing is judged here.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
import warnings
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import numpy as np
from scoring import make_features, package, plain_recipe, seconds_of, square

# VmHWM and not getrusage, whose peak a process has from the one that started it.
_PEAK = """
import sys, time
from pathlib import Path
import numpy as np
from sklearn_ncti import NCTIScorer
def peak():
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
start = peak()
X = np.load(sys.argv[1], mmap_mode="r")
y = np.arange(len(X)) % int(sys.argv[2])
begin = time.perf_counter()
NCTIScorer().fit(X, y)
seconds = time.perf_counter() - begin
print((peak() - start) / 1024, seconds)
"""


def medians(functions, X, y, repeat=5):
    """Median seconds of functions that take turns."""
    for function in functions:
        function(X, y)
    seconds = [[seconds_of(function, X, y)[0] for function in functions] for _ in range(repeat)]
    return [median(column) for column in zip(*seconds, strict=True)]


def memory(n=200_000, d=2048, n_classes=100):
    """Score a memory-mapped float32 file and print how far the process grew."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "features.npy"
        out = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(n, d))
        rng = np.random.default_rng(0)
        deviations = (5.0 * np.arange(1, d + 1) ** -0.5).astype(np.float32)
        centers = 0.5 * rng.standard_normal((n_classes, d), dtype=np.float32)
        y = np.arange(n) % n_classes
        for start in range(0, n, 10_000):
            rows = slice(start, start + 10_000)
            noise = rng.standard_normal((len(y[rows]), d), dtype=np.float32)
            out[rows] = (noise + centers[y[rows]]) * deviations + 1.0
        out.flush()
        size = out.nbytes / 1e6
        del out
        command = [sys.executable, "-c", _PEAK, str(path), str(n_classes)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    grown, seconds = map(float, done.stdout.split())
    print(
        f"memory-mapped {n} x {d} float32, {size:.0f} MB: resident memory grew by "
        f"{grown:.0f} MiB over the import, {seconds:.1f} s"
    )


def length(d=1024, n_classes=100):
    """Double the number of rows."""
    sizes = (12_500, 25_000, 50_000, 100_000)
    X, y = make_features(sizes[-1], d, n_classes, "unshrunk", "float32")
    before = None
    for n in sizes:
        (now,) = medians([package], X[:n], y[:n])
        more = "" if before is None else f", {now / before:.2f} times as long"
        print(f"n = {n}, d = {d}, C = {n_classes}: {now:.3f} s{more}")
        before = now


def few_rows(n=200, d=64, n_classes=10):
    """Score features so small that validation and Python are most of the time."""
    X, y = make_features(n, d, n_classes, "unshrunk", "float32")
    ours, plain = medians([package, plain_recipe], X, y, repeat=51)
    print(
        f"n = {n}, d = {d}, C = {n_classes}: ours {1e3 * ours:.1f} ms, plain recipe "
        f"{1e3 * plain:.1f} ms, ratio {ours / plain:.2f}"
    )
    # So few numbers that validation and Python are all of the time, and nothing sleeps.
    X, y = make_features(20, 4, 2, "unshrunk", "float32")
    seconds = []
    for _ in range(201):
        start = time.perf_counter()
        package(X, y)
        seconds.append(time.perf_counter() - start)
    print(f"n = 20, d = 4, C = 2, in a loop: {1e3 * median(seconds):.1f} ms")


# Keeps one core busy until it is killed.
_SPIN = "while True:\n    pass"

# Rows, features, classes.
_BUSY_CASES = ((5_000, 2_048, 10), (10_000, 768, 10), (20_000, 2_048, 100))


@contextmanager
def _busy_processes(n_processes):
    """Keep cores busy from sessions of their own, as another user or container would.

    Linux shares the cores out by session: a process of the same session takes far less time
    from this one.
    """
    command = [sys.executable, "-c", _SPIN]
    others = [subprocess.Popen(command, start_new_session=True) for _ in range(n_processes)]
    try:
        time.sleep(0.5)
        yield
    finally:
        for process in others:
            process.kill()
            process.wait()


def busy(cases=_BUSY_CASES):
    """Score next to one busy process, and next to one for every core."""
    n_cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    for n, d, n_classes in cases:
        X, y = make_features(n, d, n_classes, "unshrunk", "float32")
        found = []
        for n_processes in (0, 1, n_cores):
            with _busy_processes(n_processes):
                found.append(medians([package, square], X, y))
        (alone, product), *among = found
        slower = ", ".join(
            f"{ours / alone:.1f} times as long next to {n_processes}"
            for n_processes, (ours, _) in zip((1, n_cores), among, strict=True)
        )
        print(
            f"n = {n}, d = {d}, C = {n_classes}: {alone:.3f} s alone, {alone / product:.2f} times "
            f"one X.T @ X; {slower} busy processes of other sessions",
            flush=True,
        )


def main():
    parts = {"few_rows": few_rows, "length": length, "memory": memory, "busy": busy}
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", choices=[*parts, []], help="default: all")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    for name in args.parts or parts:
        parts[name]()


if __name__ == "__main__":
    main()
