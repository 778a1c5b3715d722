"""The README: its links lead somewhere, and its table of the evidence is what is measured."""

import re
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
if not README.is_file():
    pytest.skip("the README is not next to the tests", allow_module_level=True)
TEXT = README.read_text(encoding="utf-8")


def anchor(title):
    """Anchor that GitHub gives a title."""
    return re.sub(r"[^\w\- ]", "", title.strip().lower()).replace(" ", "-")


def anchors(path):
    """Anchors of the titles of a reStructuredText page."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return {
        anchor(title)
        for title, line in pairwise(lines)
        if title and re.fullmatch(r"([=\-~])\1+", line)
    }


def test_links_lead_to_files_and_titles():
    links = re.findall(r"\]\((?!https?://)([^)\s]+)\)", TEXT)
    assert len(links) > 15
    for link in links:
        file, _, title = link.partition("#")
        assert (ROOT / file).is_file(), link
        assert not title or title in anchors(ROOT / file), link


def test_rows_of_the_evidence_are_those_of_the_page():
    page = (ROOT / "docs" / "evidence.rst").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (.+?) \| (0\.\d{3}) \| (\[.+\]) \|$", TEXT, re.M)
    assert len(rows) == 4
    for _, tau, interval in rows:
        assert f"{tau} {interval}" in page


def test_two_commands_stay():
    assert "$ make demo" in TEXT
    assert "$ make test" in TEXT


def test_the_two_tables_of_the_photographs_are_one():
    page = (ROOT / "docs" / "benchmarks.rst").read_text(encoding="utf-8")
    rows = re.findall(r"^ +\d  mobilenet.*$", TEXT, re.M)
    assert len(rows) == 8
    probes = []
    for row in rows:
        (line,) = (line for line in page.splitlines() if line.strip().startswith(row.strip()))
        probes.append(line.split()[-2])
    # The text under the picture says them in the same order, in words for those who cannot see it.
    caption = " ".join(TEXT[TEXT.index("![") : TEXT.index("](docs/_static")].split())
    assert caption.endswith(f"{', '.join(probes[:-1])} and {probes[-1]} %.")
