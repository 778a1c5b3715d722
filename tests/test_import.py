"""What importing the package brings along, and what is said where an extra is missing."""

import subprocess
import sys

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
