"""Rank real backbones on real images, and compare with a plain computation by hand.

The ranking comes from ModelSelector. The comparison extracts the same features with timm's
own transform and model, one image at a time, and scores them with scikit-learn's PCA and
LinearDiscriminantAnalysis. Both are printed with their largest relative difference.

    python benchmarks/real_ranking.py FOLDER --models local-dir:A local-dir:B
"""

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

import numpy as np
from reference import plain_components
from test_real import features_by_hand

from sklearn_ncti import ModelSelector, load_image_folder


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", help="folder of class folders")
    parser.add_argument("--models", nargs="+", required=True)
    parser.add_argument("--limit-per-class", type=int)
    args = parser.parse_args(argv)
    paths, y = load_image_folder(args.folder, limit_per_class=args.limit_per_class)
    start = time.perf_counter()
    selector = ModelSelector(args.models, refit=False, verbose=1).fit(paths, y)
    print(selector.ranking_)
    print(f"{len(paths)} images, {time.perf_counter() - start:.0f} s")
    worst = 0.0
    for i, name in enumerate(args.models):
        expected, _ = plain_components(features_by_hand(name, paths), y)
        differences = [
            abs(selector.results_[c][i] / expected[c] - 1) for c in ("seli", "ncc", "vc")
        ]
        print(f"{name}: relative differences {np.array(differences)}")
        worst = max(worst, *differences)
    print(f"largest relative difference: {worst:.1e}")
    return int(worst > 1e-4)


if __name__ == "__main__":
    sys.exit(main())
