r"""Count what successive halving saves, and how often it loses the best candidate.

Two parts. "pools" ranks 60 image networks on 1,000 images, on all of them and by halving with
ten different parts, and prints the images that went through networks as a share of all, whether
the first candidate is the same, and how many of the first three:

    python benchmarks/halving.py pools --images FOLDER --models FOLDER --modules FOLDER \
        --features FOLDER

The features are extracted once and kept in a folder. Of each iteration, only the new images
count, as only these go through networks.

"simulation" ranks 200 synthetic candidates whose order is known, and prints how often the best
one is dropped, next to the nominal risk.
"""

import argparse
import json
import sys
import time
import warnings
from pathlib import Path

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin

from sklearn_ncti import HalvingModelSelector, TimmBackbone, load_image_folder, rank_features

# Small networks of timm with random weights, to fill the pool.
RANDOM = [
    "test_byobnet",
    "test_convnext",
    "test_convnext2",
    "test_convnext3",
    "test_efficientnet",
    "test_efficientnet_gn",
    "test_efficientnet_ln",
    "test_mambaout",
    "test_nfnet",
    "test_resnet",
    "test_vit",
    "test_vit2",
    "test_vit3",
    "test_vit4",
    "test_vit_relpos",
    "lcnet_035",
    "lcnet_050",
    "mobilenetv2_035",
    "mobilenetv3_small_050",
    "mobilenetv4_conv_small_035",
    "mobilenetv4_conv_small_050",
    "mnasnet_small",
    "tinynet_e",
    "tinynet_d",
    "ghostnet_050",
    "repghostnet_050",
    "semnasnet_050",
    "tf_mobilenetv3_small_075",
    "starnet_s050",
    "efficientvit_m0",
    "test_efficientnet_evos",
]


class Replay(TransformerMixin, BaseEstimator):
    """Features that were extracted before, by the positions of the images."""

    def __init__(self, features=None):
        self.features = features

    def fit(self, X, y=None):
        """Do nothing."""
        return self

    def transform(self, X):
        """Return the features of images at these positions."""
        return self.features[np.asarray(X)[:, 0]]


def make_candidates(models, modules):
    """Networks with pre-trained weights, those of the package, and some with random weights."""
    from sklearn_ncti.backbones import TorchBackbone
    from sklearn_ncti.datasets import load_zoo

    found = [(path.name, TimmBackbone(f"local-dir:{path}")) for path in sorted(models.iterdir())]
    for path in sorted(modules.iterdir()):
        config = json.loads((path / "config.json").read_text())
        size = tuple(config["input_size"])
        mean, std = config.get("mean", (0.0,) * 3), config.get("std", (1.0,) * 3)
        backbone = TorchBackbone(path / "model.pt2", input_size=size, mean=mean, std=std)
        found.append((f"module {path.name}", backbone))
    found += [(f"zoo {name}", backbone) for name, backbone in load_zoo()]
    return found + [(name, TimmBackbone(name, pretrained=False)) for name in RANDOM]


def extract(args):
    """Features of all candidates on the images, from the folder where it has them."""
    paths, y = load_image_folder(args.images, limit_per_class=args.limit_per_class)
    args.features.mkdir(parents=True, exist_ok=True)
    found = {}
    for name, backbone in make_candidates(args.models, args.modules):
        file = args.features / f"{name}.npy"
        if not file.exists():
            start = time.perf_counter()
            np.save(file, backbone.fit_transform(paths))
            print(f"{name}: {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)
        found[name] = np.load(file)
    return found, np.array(y)


def n_images(selector):
    """Images that went through networks: in each iteration, only the new ones."""
    new = np.diff([0, *selector.n_resources_])
    return int(new @ selector.n_candidates_)


def run_pools(args):
    """Halving on one pool with several seeds, next to the ranking on all images."""
    features, y = extract(args)
    whole = rank_features(features, y, scorer="robust").names
    pool = [(name, Replay(X)) for name, X in features.items()]
    rows = np.arange(len(y))[:, None]
    print(f"{len(pool)} candidates, {len(y)} images; on all images first: {', '.join(whole[:3])}")
    cases = []
    for elimination in ("confidence", "factor"):
        for seed in range(args.seeds):
            selector = HalvingModelSelector(
                pool,
                elimination=elimination,
                confidence=args.confidence,
                n_best=args.n_best,
                random_state=seed,
                refit=False,
            ).fit(rows, y)
            names = selector.ranking_.names
            case = {
                "elimination": elimination,
                "seed": seed,
                "share": n_images(selector) / (len(pool) * len(y)),
                "candidates": selector.n_candidates_,
                "first": names[0] == whole[0],
                "of_three": len({*names[:3]} & {*whole[:3]}),
            }
            cases.append(case)
            print(
                f"{elimination:10} seed {seed}: share {case['share']:.3f}, candidates "
                f"{case['candidates']}, same first {case['first']}, of the first three "
                f"{case['of_three']}",
                flush=True,
            )
        own = [case for case in cases if case["elimination"] == elimination]
        print(
            f"{elimination}: largest share {max(case['share'] for case in own):.3f}, mean "
            f"{np.mean([case['share'] for case in own]):.3f}; same first in "
            f"{sum(case['first'] for case in own)} of {len(own)}, at least two of the first three "
            f"in {sum(case['of_three'] >= 2 for case in own)}"
        )
    return cases


def make_pool(rng, n, n_candidates, n_classes=5, d=16):
    """Views of the same classes through rotations, with more noise from one to the next."""
    y = np.arange(n) % n_classes
    centers = 0.8 * rng.normal(size=(n_classes, d))
    hidden = centers[y] + rng.normal(size=(n, d))
    pool = []
    for i, noise in enumerate(np.geomspace(0.5, 2.0, n_candidates)):
        rotation = np.linalg.qr(rng.normal(size=(d, d)))[0]
        pool.append((f"{i:03d}", Replay(hidden @ rotation + noise * rng.normal(size=(n, d)))))
    return pool, y


def run_simulation(args):
    """Share of pools in which the best candidate is dropped before all rows are used."""
    rng = np.random.default_rng(0)
    lost = {confidence: [] for confidence in args.confidence}
    shares = {confidence: [] for confidence in args.confidence}
    for draw in range(args.draws):
        pool, y = make_pool(rng, args.rows, args.candidates)
        rows = np.arange(len(y))[:, None]
        for confidence in args.confidence:
            selector = HalvingModelSelector(
                pool, confidence=confidence, n_resamples=100, random_state=draw, refit=False
            ).fit(rows, y)
            reached = selector.results_["iteration"][0]
            lost[confidence].append(reached < selector.n_iterations_)
            shares[confidence].append(n_images(selector) / (len(pool) * len(y)))
    cases = []
    for confidence in args.confidence:
        case = {
            "confidence": confidence,
            "nominal": 1 - confidence,
            "lost": float(np.mean(lost[confidence])),
            "share": float(np.mean(shares[confidence])),
        }
        cases.append(case)
        print(
            f"confidence {confidence}: the best of {args.candidates} is lost in "
            f"{case['lost']:.3f} of {args.draws} pools (nominal {case['nominal']:.3f}), share of "
            f"the rows {case['share']:.3f}",
            flush=True,
        )
    return cases


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results here")
    parts = parser.add_subparsers(dest="part", required=True)
    pools = parts.add_parser("pools", help="real networks and images")
    pools.add_argument("--images", type=Path, required=True, help="folder of class folders")
    pools.add_argument("--models", type=Path, required=True, help="folder of local-dir models")
    pools.add_argument("--modules", type=Path, required=True, help="folder of exported modules")
    pools.add_argument("--features", type=Path, required=True, help="folder that keeps features")
    pools.add_argument("--limit-per-class", type=int, default=100)
    pools.add_argument("--seeds", type=int, default=10)
    pools.add_argument("--n-best", type=int, default=1)
    pools.add_argument("--confidence", type=float, default=0.95)
    simulation = parts.add_parser("simulation", help="synthetic candidates of known order")
    simulation.add_argument("--draws", type=int, default=50)
    simulation.add_argument("--rows", type=int, default=450)
    simulation.add_argument("--candidates", type=int, default=200)
    simulation.add_argument("--confidence", type=float, nargs="+", default=[0.8, 0.95])
    args = parser.parse_args(argv)
    warnings.simplefilter("ignore", UserWarning)
    cases = run_pools(args) if args.part == "pools" else run_simulation(args)
    if args.json is not None:
        args.json.write_text(json.dumps(cases, indent=2) + "\n")


if __name__ == "__main__":
    main()
