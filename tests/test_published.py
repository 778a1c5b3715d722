"""benchmarks/published.py prints what the documentation says of the published tables."""

import json
import re
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import pytest
from helpers import SHARED
from scipy.stats import weightedtau

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = ROOT / "benchmarks" / "published.py"

# Totals of a public reproduction, fine-tuned accuracies of the authors, and ImageNet top-1 of the
# weights (torchvision's documentation), all in per cent but the totals.
CIFAR10 = {
    "ResNet-152": (2.000, 97.53, 78.312),
    "ResNet-101": (1.799, 97.39, 77.374),
    "DenseNet-201": (1.434, 97.02, 76.896),
    "DenseNet-169": (1.146, 96.77, 75.600),
    "ResNet-34": (0.757, 96.12, 73.314),
    "ResNet-50": (0.709, 96.28, 76.130),
    "DenseNet-121": (0.655, 96.45, 74.434),
    "MNASNet-1.0": (0.031, 92.59, 73.456),
    "GoogLeNet": (-0.251, 95.54, 69.778),
    "MobileNet-V2": (-0.444, 94.74, 71.878),
    "Inception-V3": (-0.732, 96.18, 77.294),
}


@pytest.fixture(scope="module")
def published():
    spec = spec_from_file_location("published", SCRIPT)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def printed(published):
    """Everything that the script prints, with few resamples."""
    folder = SHARED / "published"
    if not folder.is_dir():
        pytest.skip("the folder ../shared/published with published figures is absent")
    options = ["--published", str(folder), "--resamples", "50", "--model-resamples", "10"]
    with pytest.MonkeyPatch.context() as patch:
        parts = []
        patch.setattr(published.sys.stdout, "write", parts.append)
        published.main(options)
    return "".join(parts)


def numbers(printed, name, table=""):
    """Numbers outside of brackets in the first row of that name after the title of a table."""
    text = printed[printed.index(table) :]
    row = re.search(rf"^{re.escape(name)} {{2,}}(.*)$", text, re.MULTILINE)[1]
    return [float(number) for number in re.sub(r"\[.*?\]", "", row).split()]


@pytest.mark.parametrize(
    ("name", "natural", "everything"),
    [
        ("NCTI", 0.813, 0.663),
        ("ImageNet top-1", 0.744, 0.646),
        ("NCTI + ImageNet", 0.879, 0.714),
    ],
)
def test_anchors(printed, name, natural, everything):
    first, _, last = numbers(printed, name)
    assert (first, last) == (natural, everything)


def test_order_of_the_lists(printed):
    table = printed.split("Paired")[0]
    taus = [float(found) for found in re.findall(r" (-?0\.\d+) \[.*?\] .* \[", table)]
    assert len(taus) == 15
    assert taus == sorted(taus, reverse=True)
    assert taus[:4] == [0.879, 0.813, 0.744, 0.685]


def test_means_are_those_of_scipy(published):
    folder = SHARED / "published"
    if not folder.is_dir():
        pytest.skip("the folder ../shared/published with published figures is absent")
    datasets = json.loads((folder / "tmlr_benchmark.json").read_text())["datasets"]
    taus = published.taus_of(datasets)
    for key, column in (("NCTI", "ncti"), ("ImageNet top-1", "imagenet"), ("LogME", "logme")):
        expected = [weightedtau(of[column], of["acc"]).statistic for of in datasets.values()]
        np.testing.assert_allclose(taus[key], expected, rtol=1e-12)


def test_cifar10(printed):
    table = "CIFAR-10"
    assert numbers(printed, "NCTI", table) == [0.843]
    assert numbers(printed, "ImageNet top-1", table) == [0.775]
    assert numbers(printed, "NCTI + ImageNet", table) == [0.902]


def test_cifar10_by_hand(published):
    total, accuracy, top1 = np.array(list(CIFAR10.values())).T
    scaled = (top1 - 69.778) / (78.312 - 69.778)
    assert weightedtau(total, accuracy).statistic == pytest.approx(0.8426, abs=5e-5)
    assert weightedtau(total + scaled, accuracy).statistic == pytest.approx(0.902, abs=5e-4)
    assert published.tau(total + published.minmax(top1), accuracy) == pytest.approx(
        weightedtau(total + scaled, accuracy).statistic, rel=1e-12
    )
    assert sorted(published.CIFAR10_TOTALS.values()) == sorted(total)


def test_records(printed):
    assert numbers(printed, "full finetuning", "Supervised group")[:3] == [0.837, 0.824, 0.654]
    assert numbers(printed, "full finetuning", "Self-supervised group")[2] == 0.603


def test_left_out_lists_do_not_contain_the_data_set(published):
    accuracy = np.array([[1.0, 2.0], [3.0, 5.0], [8.0, 7.0]])
    lists = published.left_out_lists(accuracy)
    np.testing.assert_allclose(lists, [[5.5, 6.0], [4.5, 4.5], [2.0, 3.5]])


def test_bootstrap_is_of_the_data_sets(published):
    values = np.array([0.0, 1.0])
    means = published.resampled_means(values, 4000)
    assert set(means) == {0, 0.5, 1}
    assert np.mean(means == 0.5) == pytest.approx(0.5, abs=0.05)
    # Paired: the same draw for another list.
    np.testing.assert_array_equal(published.resampled_means(values + 1, 4000), means + 1)
    assert published.interval([np.nan, 1.0, 1.0]) == "[1.000, 1.000]"


def test_documentation_shows_what_is_printed(printed):
    """Numbers without brackets of every row that the page shows; the intervals are random."""
    page = (ROOT / "docs" / "evidence.rst").read_text(encoding="utf-8")
    # What follows is printed by another script.
    page = page.partition(".. _evidence-text:")[0]
    strip = re.compile(r"\[.*?\]|\s+")
    rows = {strip.sub("", line) for line in printed.splitlines() if line}
    shown = [
        line
        for block in re.findall(r"code-block:: text\n\n((?: {3}.*\n|\n)+)", page)
        for line in block.splitlines()
        if line.strip()
    ]
    assert len(shown) > 40
    for line in shown:
        assert strip.sub("", line) in rows, line


@pytest.mark.parametrize(
    ("file", "start", "end"),
    [
        ("README.md", "## Does it work?", "* With fewer than"),
        ("docs/trust.rst", "What has been published", ".. _few-rows:"),
        ("docs/companions.rst", "What not to expect", "Common interface"),
        ("docs/evidence.rst", "In short:", "The same with the functions"),
        ("docs/evidence.rst", "Accuracies on other data sets", "ImageNet accuracies of your"),
    ],
)
def test_documentation_claims_only_what_is_printed(printed, file, start, end):
    """Figures of three digits in the text; the intervals are random."""
    text = (ROOT / file).read_text(encoding="utf-8")
    text = text[text.index(start) : text.index(end)]
    claims = set(re.findall(r"(?<![\d.])0\.\d{3}(?!\d)", re.sub(r"\[.*?\]", "", text)))
    known = set(re.findall(r"(?<![\d.])0\.\d{3}(?!\d)", re.sub(r"\[.*?\]", "", printed)))
    assert claims <= known


def test_missing_files_are_named(published, tmp_path):
    (tmp_path / "sfda_ssl.json").touch()
    with pytest.raises(SystemExit, match=r"lacks tmlr_benchmark, .*_baselines \(\.json\)"):
        published.main(["--published", str(tmp_path)])
