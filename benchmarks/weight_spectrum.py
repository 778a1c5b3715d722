"""Time the weighted alpha of networks, and compare it with the fine-tuned bundled models.

    python benchmarks/weight_spectrum.py

Networks of timm are untrained (weights change the time little). The bundled models are the
trained ones; their accuracies come with the package.
"""

import argparse
import time

import timm
from scipy.stats import weightedtau

from sklearn_ncti._linalg.spectrum import weighted_alpha
from sklearn_ncti.backbones import TimmBackbone
from sklearn_ncti.datasets import load_zoo, load_zoo_accuracies


def timed(names):
    for name in names:
        backbone = TimmBackbone(name, pretrained=False, device="cpu")
        network = backbone._build_network(("features",))
        start = time.perf_counter()
        weighted_alpha(network.weight_matrices())
        seconds = time.perf_counter() - start
        print(f"{name:28} {network.n_parameters / 1e6:7.1f} million {seconds:8.1f} s", flush=True)


def compared():
    accuracies = load_zoo_accuracies()
    alphas = {name: backbone.weighted_alpha() for name, backbone in load_zoo()}
    for name, alpha in sorted(alphas.items(), key=lambda item: item[1]):
        print(f"{name:28} {alpha:8.3f} {accuracies[name]:8.1f}")
    tau, _ = weightedtau([-alphas[name] for name in alphas], [accuracies[name] for name in alphas])
    print(f"weighted Kendall tau of minus the weighted alpha with the accuracies: {tau:.3f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names = ["resnet18", "resnet50", "convnext_tiny", "vit_base_patch16_224"]
    parser.add_argument("--models", nargs="+", default=names)
    args = parser.parse_args()
    print(f"timm {timm.__version__}")
    compared()
    timed(args.models)


if __name__ == "__main__":
    main()
