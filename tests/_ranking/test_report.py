"""HTML for a browser: the report of a ranking, and the selector in a notebook."""

import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from importlib import resources

import numpy as np
import pytest
import sklearn
from helpers import make_problem
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline

from sklearn_ncti import ModelSelector, Ranking, __version__
from sklearn_ncti._cli import main
from sklearn_ncti._report.report import fine_tuning_code, ranking_report
from sklearn_ncti._utils.terminal import printable
from sklearn_ncti.datasets import load_digit_images, load_zoo

HOSTILE = """<script>document.title = "hacked"</script>&"'<b>"""


class Document(HTMLParser):
    """A parsed page: tags with their attributes, visible text, cells of tables, and terms."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.words, self.rows, self.terms, self.within = [], [], [], [], set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.within.add(tag)
        if tag == "tr":
            self.rows.append([])
        if tag == "td":
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        self.within.discard(tag)

    def handle_data(self, data):
        if self.within & {"style", "script"}:
            return
        self.words.append(data)
        if "td" in self.within:
            self.rows[-1][-1] += data
        if "dt" in self.within:
            self.terms.append(data)

    @property
    def text(self):
        return " ".join("".join(self.words).split())


@pytest.fixture
def images(tmp_path):
    """A folder of six images of each of three digits; one class has a hostile name."""
    pil = pytest.importorskip("PIL.Image")
    pixels, digits = load_digit_images()
    names = np.array(["zero", "one", "<b>two"])
    paths, labels = [], []
    for digit in range(3):
        for i in np.flatnonzero(digits == digit)[:6]:
            paths.append(str(tmp_path / "images" / names[digit] / f"{i}.png"))
            labels.append(names[digit])
            (tmp_path / "images" / names[digit]).mkdir(parents=True, exist_ok=True)
            pil.fromarray(pixels[i]).resize((32, 32)).save(paths[-1])
    return paths, np.array(labels)


@pytest.fixture
def ranking():
    """Three candidates with scores and one, with a hostile name, that failed."""
    n = np.nan
    results = {
        "model": np.array(["resnet18.a1_in1k", "vit.b", HOSTILE, "tiny"], dtype=object),
        "score": [0.5, 1.75, n, 1.25],
        "ncc": [0.25, 1.0, n, 0.5],
        "normalized_ncc": [0.5, 1.75, n, 1.25],
        "images_per_second": [90.0, 5.0, n, 1000.0],
        "error": np.array(["", "", f"ValueError: {HOSTILE}\nsecond line", ""], dtype=object),
    }
    return Ranking(results, normalization="minmax", weights={"ncc": 1.0})


@pytest.fixture
def report(ranking, images):
    pytest.importorskip("matplotlib")
    return ranking_report(ranking, *images, settings={"folder": HOSTILE, "jobs": 1})


def test_what_the_report_tells(report, images):
    document = Document(report)
    rows = [row for row in document.rows if row]
    assert [row[:3] for row in rows[:4]] == [
        ["1", "vit.b", "1.75"],
        ["2", "tiny", "1.25"],
        ["3", "resnet18.a1_in1k", "0.50"],
        ["4", HOSTILE, "failed"],
    ]
    assert [HOSTILE, f"ValueError: {HOSTILE}\nsecond line"] in rows
    assert [["<b>two", "6", ""], ["one", "6", ""], ["zero", "6", ""]] == rows[-3:]
    for words in (
        "Fine-tune first: vit.b",
        "4 candidates ranked on 18 images of 3 classes",
        "18 images in 3 classes, from 6 to 6 of each",
        "model = timm.create_model('vit.b', pretrained=True, num_classes=3)",
        "score = ncc (minmax over the candidates; larger is better)",
        "Neural Collapse on the Target Dataset",
        f"sklearn_ncti{__version__}",
        f"scikit-learn{sklearn.__version__}",
        f"folder{HOSTILE}",
    ):
        assert words in document.text
    assert sum(tag == "svg" for tag, _ in document.tags) == 2
    assert sum(tag == "img" for tag, _ in document.tags) == 12


def test_style_and_script_are_those_of_the_package(report):
    for name, tag in (("style.css", "style"), ("sort.js", "script")):
        text = resources.files("sklearn_ncti._report").joinpath(name).read_text(encoding="utf-8")
        assert f"<{tag}>\n{text}</{tag}>" in report


def test_nothing_of_the_users_becomes_markup(report):
    document = Document(report)
    assert [tag for tag, _ in document.tags].count("script") == 1
    assert "b" not in [tag for tag, _ in document.tags]
    assert HOSTILE not in report


@pytest.mark.parametrize(
    "name", [r"$\frac$", "$$", "mod\udce8le", "a\x00b", "\x1b]0;title\x07\x9b1m\u202ea\n\r\x7f"]
)
def test_a_report_of_any_name(images, name):
    pytest.importorskip("matplotlib")
    paths, labels = images
    labels = np.where(labels == "one", name, labels)
    results = {
        "model": np.array([name, "b", f"bad {name}"], dtype=object),
        "score": [1.0, 0.0, np.nan],
        "license": np.array([name, "", ""], dtype=object),
        name: [1.0, 0.0, np.nan],
        f"{name}_rank": [1, 2, 3],
        "error": np.array(["", "", f"ValueError: {name}\nsecond line"], dtype=object),
    }
    ranking = Ranking(results, normalization="minmax", weights={}, scorers=[name])
    report = ranking_report(ranking, paths, labels, settings={"folder": name, name: [name]})
    document, shown = Document(report), printable(name)
    assert f"Fine-tune first: {shown}" in document.text
    assert [shown, "6", ""] in document.rows
    # A message keeps its lines.
    message = printable(f"ValueError: {name}\nsecond line", keep="\n")
    assert [f"bad {shown}", message] in document.rows
    assert printable(report, keep="\n") == report


def test_the_report_loads_nothing(report):
    for tag, attributes in Document(report).tags:
        assert tag not in ("link", "iframe", "object", "embed", "base")
        for name, value in attributes.items():
            if name == "src":
                assert value.startswith("data:image/jpeg;base64,")
            if name.endswith("href"):
                assert value.startswith("#")
    assert not re.findall(r"@import|url\((?!#)", report)


def test_examples_are_images_that_can_be_read(ranking, images):
    pytest.importorskip("matplotlib")
    paths, labels = images
    for path in paths[:4]:
        with open(path, "w") as file:
            file.write("no image")
    document = Document(ranking_report(ranking, paths, labels, settings={}, n_skipped=4))
    assert "14 images of 3 classes (4 more could not be read" in document.text
    # Two of the class are left, and four of each of the others are shown.
    assert sum(tag == "img" for tag, _ in document.tags) == 2 + 4 + 4


def test_no_picture_of_speed_where_none_was_measured(ranking, images):
    pytest.importorskip("matplotlib")
    ranking.results["images_per_second"] = np.full(4, np.nan)
    document = Document(ranking_report(ranking, *images, settings={}))
    assert sum(tag == "svg" for tag, _ in document.tags) == 1
    assert "images/s" not in document.text


def test_the_lines_of_timm_run():
    torch = pytest.importorskip("torch")
    pytest.importorskip("timm")
    names = {}
    exec(fine_tuning_code(load_zoo()[0][1].model, 7), names)
    assert names["model"](torch.zeros(2, 3, 32, 32)).shape == (2, 7)
    assert callable(names["transform"])


def test_from_the_command_line(capsys, images, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    pytest.importorskip("timm")
    monkeypatch.setenv("OMP_WAIT_POLICY", "passive")
    file = tmp_path / "report.html"
    models = [backbone.model for _, backbone in load_zoo()[:2]]
    command = ["rank", str(tmp_path / "images"), "--models", *models, "--html", str(file)]
    assert main([*command, "--n-components", "4"]) == 0
    out, err = capsys.readouterr()
    assert err.endswith(f"wrote {file}\n")
    document = Document(file.read_text(encoding="utf-8"))
    best = out.splitlines()[1].split()[1]
    assert f"Fine-tune first: {best}" in document.text
    assert "n_components4" in document.text
    assert "device" in document.terms
    assert not {"html", "json", "run", "images", "force"} & set(document.terms)
    # An existing file is refused before any work.
    file.write_text("precious")
    assert main(command) == 2
    assert file.read_text() == "precious"
    assert main([*command, "--n-components", "4", "--force"]) == 0
    assert file.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    # So is a report that cannot be drawn.
    capsys.readouterr()
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main([*command, "--force"]) == 1
    out, err = capsys.readouterr()
    assert "pip install 'sklearn-ncti[plot]'" in err
    assert (out, len(err.splitlines())) == ("", 1)
    assert file.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


def test_a_class_whose_name_is_not_utf8(capsys, images, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    pytest.importorskip("timm")
    monkeypatch.setenv("OMP_WAIT_POLICY", "passive")
    try:
        renamed = (tmp_path / "images" / "one").rename(tmp_path / "images" / "mod\udce8le $$")
    except OSError:
        pytest.skip("this system has no such file names")
    file = tmp_path / "report.html"
    model = load_zoo()[0][1].model
    command = ["rank", str(tmp_path / "images"), "--models", model, "--n-components", "4"]
    assert main([*command, "--html", str(file)]) == 0
    rows = Document(file.read_text(encoding="utf-8")).rows
    assert [rf"{renamed.name[:3]}\udce8le $$", "6", ""] in rows


@pytest.fixture
def browse(tmp_path):
    """Open a page in Chromium; return its final markup and what it wrote to the console."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("Chromium is not installed")

    def open_page(html):
        page = tmp_path / "page.html"
        page.write_text(html, encoding="utf-8")
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"]
        options += ["--disable-background-networking", "--disable-component-update"]
        options += ["--disable-sync", "--enable-logging=stderr", "--v=0", "--dump-dom"]
        options += [f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=5000"]
        done = subprocess.run(
            [chromium, *options, page.as_uri()], capture_output=True, text=True, timeout=180
        )
        assert done.returncode == 0
        console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
        return done.stdout, console

    return open_page


def result_of(markup):
    return json.loads(re.search(r"<pre id=.result.>(.*?)</pre>", markup, re.S).group(1))


SHOW = """
const shown = document.createElement("pre");
shown.id = "result";
shown.textContent = JSON.stringify(found);
document.body.append(shown);
"""


def test_sorting_in_a_browser(browse, report):
    probe = """
    const table = document.querySelector("table.sortable");
    const order = () => [...table.tBodies[0].rows].map((row) => row.cells[0].textContent);
    const click = (name) => {
      const heads = [...table.tHead.querySelectorAll("button")];
      heads.find((head) => head.textContent === name).click();
      const marked = [...table.tHead.querySelectorAll("[aria-sort]")];
      return [order().join(""), marked.map((head) => head.textContent).join("")];
    };
    const found = [order().join("")];
    for (const name of ["score", "score", "images/s", "rank", "model"]) found.push(click(name));
    """
    markup, console = browse(report.replace("</body>", f"<script>{probe}{SHOW}</script></body>"))
    assert console == []
    start, falling, rising, speed, rank, model = result_of(markup)
    assert start == "1234"
    # The failed candidate has no score and stays last in both directions.
    assert (falling, rising) == (["1234", "score"], ["3214", "score"])
    assert speed == ["2314", "images/s"]
    assert rank == ["1234", "rank"]
    assert model == ["4321", "model"]


def test_the_browser_tells_of_errors(browse):
    """An empty console means no errors only if errors are shown there."""
    _, console = browse("<script>nowhere()</script><script>console.error('mine')</script>")
    assert len(console) == 2


def test_a_phone_scrolls_tables_and_not_the_page(browse, report):
    frame = f"<iframe style='width: 390px; height: 800px' srcdoc='{escape_attribute(report)}'>"
    probe = """
    const frame = document.querySelector("iframe");
    frame.addEventListener("load", () => {
      const inside = frame.contentDocument, root = inside.documentElement;
      const boxes = [...inside.querySelectorAll(".box")];
      const found = {
        page: [root.scrollWidth, root.clientWidth],
        wider: boxes.filter((box) => box.scrollWidth > box.clientWidth).length,
      };
      SHOW
    });
    """.replace("SHOW", SHOW)
    markup, _ = browse(f"<body>{frame}</iframe><script>{probe}</script></body>")
    found = result_of(markup)
    scrolled, width = found["page"]
    assert scrolled == width <= 390
    assert found["wider"] >= 2


def escape_attribute(text):
    return text.replace("&", "&amp;").replace("'", "&#39;")


def html_of(estimator):
    """Return what a notebook shows, by either of its two methods."""
    html = estimator._repr_mimebundle_()["text/html"]
    drop_ids = re.compile(r"(sk-[a-z-]*id|sk-estimator-id|sk-container-id)-\d+")
    assert drop_ids.sub("", estimator._repr_html_()) == drop_ids.sub("", html)
    return html


def test_a_notebook_shows_the_ranking_of_a_fitted_selector():
    X, y = make_problem(d=30, spread=1.0, scale=3.0)
    selector = ModelSelector([("<i>three", PCA(3)), ("nine", PCA(9))])
    assert "<table><thead><tr><th>rank" not in html_of(selector)
    selector.fit(X, y)
    html = html_of(selector)
    assert html.endswith(selector.ranking_._repr_html_())
    assert "<th>raw ncc</th>" in html
    assert "<i>three" not in html
    # The diagram of the estimator stays, also in a pipeline.
    assert "ModelSelector" in html
    assert "ModelSelector" in html_of(make_pipeline(selector))


def test_no_html_where_scikit_learn_shows_text():
    X, y = make_problem(d=30, spread=1.0, scale=3.0)
    selector = ModelSelector([("three", PCA(3)), ("nine", PCA(9))]).fit(X, y)
    with sklearn.config_context(display="text"):
        assert not hasattr(selector, "_repr_html_")
        assert list(selector._repr_mimebundle_()) == ["text/plain"]
