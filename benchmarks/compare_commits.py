"""Compare the results of two commits, digit by digit.

A change of structure must change no number. Each commit is checked out into a temporary
folder and ranks the same candidates through the public interface; every column but the times
is then compared exactly, and each difference is printed.

    python benchmarks/compare_commits.py COMMIT [COMMIT] --images FOLDER --models NAME ...

Without a second commit, the working tree is compared.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np

# Times, and a message with the folder of the commit.
_LEFT_OUT = (
    *("extract_time", "score_time", "decode_time", "device_time", "images_per_second"),
    "leep_error",
)


def _plain(value):
    """Return a value of which JSON keeps every digit."""
    if isinstance(value, np.ndarray):
        return [_plain(item) for item in value.tolist()]
    return value.hex() if isinstance(value, float) else value


def _columns(ranking):
    columns = {name: _plain(values) for name, values in ranking.results.items()}
    columns = {name: values for name, values in columns.items() if name not in _LEFT_OUT}
    if ranking.resamples is not None:
        columns["resamples"] = _plain(ranking.resamples)
    # Of the notes, those about failures name folders.
    columns["table"] = str(ranking).partition("score = ")[0].splitlines()
    return columns


def results(images, models):
    """Return all results of the package that is installed, or first on the path."""
    from sklearn.datasets import load_digits
    from sklearn.linear_model import LogisticRegression

    import sklearn_ncti
    from sklearn_ncti import ModelSelector, NCTIScorer, datasets, rank_features
    from sklearn_ncti.companions import GBC, LEEP, HScore, LogME

    print(f"package: {sklearn_ncti.__file__}", file=sys.stderr)
    warnings.simplefilter("ignore")
    X, y = load_digits(return_X_y=True)
    pool = {f"{d} pixels": X[:, :d].astype(t) for d, t in ((64, "f4"), (48, "f8"), (20, "f8"))}
    found = {}
    for how in ("minmax", "zscore", "rank", "absolute"):
        found[f"features {how}"] = _columns(rank_features(pool, y, normalization=how))
        few = {name: values[:150] for name, values in pool.items()}
        found[f"resamples {how}"] = _columns(
            rank_features(few, y[:150], normalization=how, n_resamples=30, random_state=0)
        )
    scorers = [
        NCTIScorer(cv=3),
        LogME(),
        GBC(),
        HScore(),
        NCTIScorer(variant="paper"),
        LogisticRegression(max_iter=20),
    ]
    for scorer in scorers:
        found[f"scorer {scorer}"] = _columns(rank_features(pool, y, scorer=scorer))
    found["scorers"] = _columns(rank_features(pool, y, scorer=scorers[1:]))
    zoo, digits = datasets.load_zoo(), datasets.load_digit_images()
    selector = ModelSelector(zoo, scorer=[NCTIScorer(), LEEP()], n_resamples=20, random_state=0)
    found["zoo"] = _columns(selector.fit(*digits).ranking_)
    if images:
        paths, labels = datasets.load_image_folder(images)
        found["images"] = _columns(ModelSelector(models).fit(paths, labels).ranking_)
    return found


def _of_commit(commit, images, models, folder):
    """Run this script on the package of a commit; None for the working tree."""
    root = Path(__file__).resolve().parents[1]
    if commit is not None:
        root = Path(folder, commit)
        subprocess.run(["git", "worktree", "add", "--detach", root, commit], check=True)
    out = Path(folder, f"{commit}.json")
    command = [sys.executable, "-P", __file__, "--write", out]
    if images:
        command += ["--images", images, "--models", *models]
    try:
        subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": str(root)})
    finally:
        if commit is not None:
            subprocess.run(["git", "worktree", "remove", "--force", root], check=True)
    return json.loads(out.read_text())


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("commits", nargs="*", help="one or two commits")
    parser.add_argument("--images", help="folder of class folders")
    parser.add_argument("--models", nargs="+", default=[], help="of timm, to rank the images")
    parser.add_argument("--write", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.write is not None:
        args.write.write_text(json.dumps(results(args.images, args.models)))
        return 0
    old, new = (*args.commits, None)[:2]
    with tempfile.TemporaryDirectory() as folder:
        before, after = (_of_commit(c, args.images, args.models, folder) for c in (old, new))
    n_different = 0
    for part, columns in before.items():
        for name, values in columns.items():
            if after[part].get(name) != values:
                n_different += 1
                print(f"{part}, {name}:\n  {values}\n  {after[part].get(name)}")
    n_columns = sum(map(len, before.values()))
    print(f"{n_different} of {n_columns} columns differ")
    return int(n_different > 0)


if __name__ == "__main__":
    sys.exit(main())
