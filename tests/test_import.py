"""What the package imports: no heavy package, no missing extra without advice, nothing upwards."""

import ast
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import sklearn_ncti


def run(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)


def test_import_brings_no_heavy_package():
    heavy = {"torch", "torchvision", "timm", "PIL", "matplotlib", "tqdm"}
    code = "import sys, sklearn_ncti, sklearn_ncti._cli; print(*sys.modules)"
    assert not heavy & set(run(code).stdout.split())


def test_public_names_exist_and_are_sorted():
    assert sklearn_ncti.__all__ == sorted(sklearn_ncti.__all__)
    for name in sklearn_ncti.__all__:
        assert getattr(sklearn_ncti, name).__doc__


def test_missing_package_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    ranking = sklearn_ncti.Ranking.from_scores({"a": 1.0, "b": 0.0})
    with pytest.raises(ImportError, match=r"pip install 'sklearn-ncti\[plot\]'"):
        ranking.plot()
    monkeypatch.setitem(sys.modules, "torch", None)
    backbone = sklearn_ncti.TimmBackbone("test_resnet", pretrained=False)
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ImportError, match=r"pip install 'sklearn-ncti\[timm\]'"):
        backbone.fit(np.zeros((2, 8, 8), dtype=np.uint8))


def test_lazy_names_behave_as_others():
    assert set(sklearn_ncti.__all__) <= set(dir(sklearn_ncti))
    with pytest.raises(AttributeError, match="no attribute 'ModelSelecter'"):
        sklearn_ncti.ModelSelecter  # noqa: B018
    code = "from sklearn_ncti import *; print(ModelSelector.__name__, datasets.__name__)"
    assert run(code).stdout.split() == ["ModelSelector", "sklearn_ncti.datasets"]


PACKAGE = Path(sklearn_ncti.__file__).parent

# Which folders each folder may import, in the order of the data. The files at the root are
# outside of this order: __init__.py imports the public names from everywhere, and _version.py
# may be imported from everywhere.
MAY_IMPORT = {
    "_utils": set(),
    "_linalg": {"_utils"},
    "_ncti": {"_utils", "_linalg"},
    "companions": {"_utils", "_linalg"},
    "_scoring": {"_utils", "_linalg", "_ncti", "companions"},
    "_ranking": {"_utils", "_linalg", "_ncti", "companions", "_scoring"},
    "backbones": {"_utils", "_linalg"},
    "datasets": {"_utils", "backbones"},
}
MAY_IMPORT["_selection"] = {"backbones", "datasets", "_ranking"} | MAY_IMPORT["_ranking"]
MAY_IMPORT["_cli"] = {"_selection"} | MAY_IMPORT["_selection"]


def imported_modules(tree, module):
    """Line and absolute dotted name of every import of a file, wherever it stands."""
    package = module.split(".")[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, name.name) for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) + 1 - node.level] if node.level else []
            base = ".".join([*start, *([node.module] if node.module else [])])
            # A name may be a module: `from .. import _ranking` imports a folder.
            yield from ((node.lineno, f"{base}.{name.name}") for name in node.names)


def forbidden_imports(source, module):
    """Imports of a file of the package that are against the order of the folders."""
    folder = module.split(".")[1]
    found = []
    for line, name in imported_modules(ast.parse(source), module):
        root, _, rest = name.partition(".")
        target = rest.partition(".")[0]
        if root == "sklearn_ncti" and target not in {folder, "_version", *MAY_IMPORT[folder]}:
            found.append(f"{module}:{line} imports {name}")
    return found


def files_in_folders():
    """Dotted name and path of every file that is in a folder of the package."""
    for path in sorted(PACKAGE.glob("*/**/*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        yield ".".join(["sklearn_ncti", *parts]), path


def test_imports_run_down_the_folders():
    found = []
    for module, path in files_in_folders():
        found += forbidden_imports(path.read_text(encoding="utf-8"), module)
    assert not found, "\n".join(found)


def test_every_folder_has_its_place_in_the_order():
    assert {module.split(".")[1] for module, _ in files_in_folders()} == set(MAY_IMPORT)


@pytest.mark.parametrize(
    ("module", "source", "line"),
    [
        ("_utils.planted", "from .._linalg.arrays import to_host", 1),
        ("_linalg.planted", "import numpy\nfrom .. import _ncti", 2),
        ("_ncti.planted", "from ..companions import GBC", 1),
        ("companions.planted", "def f():\n    from .._ncti.scorer import NCTIScorer", 2),
        ("_scoring.planted", "import sklearn_ncti._ranking.ranking as ranking", 1),
        ("_ranking.planted", "from sklearn_ncti._selection import selector", 1),
        ("backbones.planted", "if TYPE_CHECKING:\n    from .._scoring import scoring", 2),
        ("datasets.planted", "from .._selection.selector import ModelSelector", 1),
        ("_selection.planted", "try:\n    from .._cli import parser\nexcept E:\n    f()", 2),
        ("_ranking.report.planted", "from ..._selection import selector", 1),
        # The root imports everything.
        ("_utils.planted", "import sklearn_ncti", 1),
        ("_scoring.planted", "from sklearn_ncti import Ranking", 1),
        ("_cli.planted", "from .. import ModelSelector", 1),
    ],
)
def test_planted_upward_import_is_found(module, source, line):
    module = f"sklearn_ncti.{module}"
    (found,) = forbidden_imports(source, module)
    assert found.startswith(f"{module}:{line} imports sklearn_ncti")


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("_utils.planted", "from . import optional\nfrom .optional import import_optional"),
        ("_ncti.planted", "from .._linalg.arrays import to_host\nfrom .. import _version"),
        ("_cli.planted", "from .._version import __version__\nfrom .._selection import plan"),
        ("_cli.__init__", "from .commands import main\nfrom ..datasets import load_zoo"),
        ("_utils.planted", "import torch, sklearn_ncti_plugin\nfrom . import __name__"),
    ],
)
def test_downward_imports_are_allowed(module, source):
    assert forbidden_imports(source, f"sklearn_ncti.{module}") == []
