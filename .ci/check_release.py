"""Build the archives of a release, and check them as a user gets them.

    .venv-dev/bin/python .ci/check_release.py --optional .venv

Both archives are built from the files that git knows, and checked by twine. The wheel must contain
every file of the package and nothing else. It is then installed into a bare environment, with
nothing but what it requires, and used from a folder outside of the checkout. For the
demonstration, --optional names an environment of the same Python whose torch and timm are
borrowed: to install them again would take minutes.
"""

import argparse
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from email import message_from_bytes
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# Next to the package, what a reader of the source needs: the files that the README links to.
OF_SDIST = ("CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "Makefile", "README.md", "conftest.py")

SCORE = """
import sys
import numpy as np
from sklearn.datasets import load_iris
X, y = load_iris(return_X_y=True)
for name, features in {"all": X, "two": X[:, :2]}.items():
    np.savez(f"{name}.npz", features=features, labels=y)
import sklearn_ncti
ranking = sklearn_ncti.rank_features({"all": X, "two": X[:, :2]}, y)
assert ranking.best == "all", ranking
assert len(sklearn_ncti.datasets.load_catalogue()["name"]) > 1000
assert not {"torch", "timm", "matplotlib"} & set(sys.modules), "an optional package is imported"
print(sklearn_ncti.__file__)
"""


def run(*command, cwd, **environment):
    """Run a command and return its output; a failure ends this script with what it printed."""
    # Nothing of the checkout may be found by accident.
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=kept | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"failed: {' '.join(map(str, command))}\n{done.stdout}")
    return done.stdout


def check(condition, message):
    """End this script unless the condition holds."""
    if not condition:
        sys.exit(f"failed: {message}")


def tracked(*paths):
    """Files of the checkout that git knows."""
    return set(run("git", "ls-files", *paths, cwd=ROOT).split())


def export(folder):
    """Copy the tracked files, so that leftovers of the checkout cannot come into an archive."""
    for name in tracked():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes((ROOT / name).read_bytes())


def build(source, dist):
    """Build both archives, check them with twine, and return them."""
    run(sys.executable, "-m", "build", "--outdir", dist, source, cwd=source)
    (wheel,), (sdist,) = dist.glob("*.whl"), dist.glob("*.tar.gz")
    run(sys.executable, "-m", "twine", "check", "--strict", wheel, sdist, cwd=source)
    return wheel, sdist


def check_contents(wheel, sdist):
    """Compare the files in the archives with those of the checkout."""
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    info = {name for name in names if ".dist-info/" in name}
    package = tracked("sklearn_ncti")
    check(names - info == package, f"the wheel differs in {(names - info) ^ package}")
    check(any(name.endswith("licenses/LICENSE") for name in info), "the wheel lacks the license")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    missing = (tracked("sklearn_ncti", "tests", "docs") | set(OF_SDIST)) - names
    check(not missing, f"the sdist lacks {sorted(missing)}")


def check_metadata(wheel):
    """Check version, changelog and the links of the page on PyPI; return the version."""
    with zipfile.ZipFile(wheel) as archive:
        (file,) = (name for name in archive.namelist() if name.endswith("dist-info/METADATA"))
        metadata = message_from_bytes(archive.read(file))
    page, version = metadata.get_payload(), metadata["Version"]
    relative = re.findall(r"\]\((?!https?://|#)([^)]+)\)", page)
    check(not relative, f"the README on PyPI has relative links: {relative}")
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    released = re.search(rf"^## \[{re.escape(version)}\] - \d{{4}}-\d\d-\d\d$", changelog, re.M)
    check("dev" in version or released, f"CHANGELOG.md has no dated heading of {version}")
    return version


def install(wheel, folder):
    """Install the wheel into a new environment and return the folder of its programs."""
    venv.create(folder, with_pip=True)
    programs = folder / ("Scripts" if os.name == "nt" else "bin")
    run(programs / "python", "-m", "pip", "install", "--quiet", wheel, cwd=folder)
    return programs


def use(programs, folder, version):
    """Rank features in an environment without anything optional."""
    command = programs / "sklearn-ncti"
    check(run(command, "--version", cwd=folder).strip() == version, "another version is installed")
    file = run(programs / "python", "-c", SCORE, cwd=folder).split()[-1]
    check(programs.parent in Path(file).parents, f"the package comes from {file}")
    table = run(command, "score", "all.npz", "two.npz", cwd=folder)
    check(re.search(r"^ +1 +all ", table, re.M), f"unexpected ranking:\n{table}")


def demonstrate(programs, folder, optional):
    """Run the demonstration of the wheel with the optional packages of another environment."""
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    borrowed = run(optional / "bin" / "python", "-c", code, cwd=folder).strip()
    output = folder / "demo"
    printed = run(
        *(programs / "sklearn-ncti", "demo", "--output", output),
        cwd=folder,
        PYTHONPATH=borrowed,
    )
    check("agreement with fine-tuning" in printed, f"unexpected demonstration:\n{printed}")
    check({path.name for path in output.iterdir()} == {"ranking.json", "ranking.png"}, printed)


def main():
    """Read the arguments and run all checks."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dist", type=Path, help="keep the archives in this new folder")
    parser.add_argument("--optional", type=Path, metavar="ENVIRONMENT")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        export(folder / "source")
        dist = (args.dist or folder / "dist").resolve()
        wheel, sdist = build(folder / "source", dist)
        check_contents(wheel, sdist)
        version = check_metadata(wheel)
        programs = install(wheel, folder / "bare")
        use(programs, folder, version)
        if args.optional is not None:
            demonstrate(programs, folder, args.optional.resolve())
    print(f"{wheel.name} and {sdist.name} are in order")


if __name__ == "__main__":
    main()
