"""HTML for a browser: the report of a ranking, and the selector in a notebook."""

import csv
import io
import json
import re
import shutil
import subprocess
from ast import literal_eval
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
from sklearn_ncti._ranking.report.fine_tuning import Pretrained, fine_tuning_code
from sklearn_ncti._ranking.report.page import RankedData, ranking_report
from sklearn_ncti._ranking.report.verdict import verdict
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
def data(images):
    """The same images as the report shows them: four examples of each class."""
    pil = pytest.importorskip("PIL.Image")
    paths, labels = images
    classes, counts = np.unique(labels, return_counts=True)
    examples = {}
    for i, name in enumerate(classes):
        examples[i] = []
        for j in np.flatnonzero(labels == name)[:4]:
            file = io.BytesIO()
            pil.open(paths[j]).convert("RGB").save(file, "JPEG")
            examples[i].append(file.getvalue())
    return RankedData(classes, counts, examples=examples)


@pytest.fixture
def report(ranking, data):
    settings = {"folder": HOSTILE, "jobs": 1}
    return ranking_report(ranking, data, settings=settings, pretrained=Pretrained("vit.b"))


def test_what_the_report_tells(report):
    document = Document(report)
    rows = [row for row in document.rows if row]
    assert [row[:3] for row in rows] == [
        ["1", "vit.b", "1.75"],
        ["2", "tiny", "1.25"],
        ["3", "resnet18.a1_in1k", "0.50"],
        ["4", HOSTILE, "failed"],
    ]
    for words in (
        "Fine-tune first: vit.b",
        "4 candidates ranked on 18 images of 3 classes",
        "18 images in 3 classes, from 6 to 6 of each",
        "<b>two 6",
        "model = timm.create_model('vit.b', pretrained=True, num_classes=3)",
        "score = ncc (minmax over the candidates; larger is better)",
        "Neural Collapse on the Target Dataset",
        f"sklearn_ncti{__version__}",
        f"scikit-learn{sklearn.__version__}",
        f"folder{HOSTILE}",
        f"{HOSTILE}ValueError: {HOSTILE}",
    ):
        assert words in document.text
    # The verdict comes before anything else that is read.
    assert document.text.index("Fine-tune first") < document.text.index("4 candidates")
    assert sum(tag == "svg" for tag, _ in document.tags) == 1
    assert sum(tag == "img" for tag, _ in document.tags) == 12


def test_a_report_of_totals_alone(tmp_path):
    file = tmp_path / "report.html"
    ranking = Ranking.from_scores({"a": 1.0, "<b>": 0.5})
    ranking.report(file)
    document = Document(file.read_text(encoding="utf-8"))
    assert [row for row in document.rows if row] == [["1", "a", "1.00"], ["2", "<b>", "0.50"]]
    assert "Where a is the name of a timm model" in document.text
    assert "num_classes=...)" in document.text
    assert "Data set" not in document.text
    assert "svg" not in [tag for tag, _ in document.tags]


def test_an_existing_file_stays(tmp_path):
    file = tmp_path / "report.html"
    file.write_text("precious")
    ranking = Ranking.from_scores({"a": 1.0, "b": 0.5})
    with pytest.raises(FileExistsError, match=r"report\.html' exists; .* overwrite=True"):
        ranking.report(file)
    assert file.read_text() == "precious"
    ranking.report(str(file), overwrite=True)
    assert file.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert list(tmp_path.iterdir()) == [file]


def resampled(score, probability, group):
    """A ranking whose rows were resampled, with what the resamples said."""
    score = np.array(score)
    results = {
        "model": np.array(list("abcdefgh")[: len(score)], dtype=object),
        "score": score,
        "score_low": score - 0.1,
        "score_high": score + 0.3,
        "rank_low": np.ones(len(score)),
        "rank_high": np.full(len(score), float(len(score))),
        "held": np.zeros(len(score), dtype=bool),
        "best_probability": np.array(probability),
        "group": np.array(group),
    }
    return Ranking(results, resamples=np.tile(score, (40, 1)))


def test_a_verdict_names_all_that_cannot_be_told_apart():
    ranking = resampled([0.1, 1.9, 1.8, 1.7], [0.0, 0.69, 0.24, 0.07], [2, 1, 1, 1])
    headline, sentences, shown = verdict(ranking)
    assert headline == "Fine-tune one of these three"
    assert "b is first with probability 0.69" in sentences[0]
    assert shown == [1, 2, 3]


def test_a_verdict_names_the_only_one():
    headline, _, shown = verdict(resampled([0.1, 1.9], [0.02, 0.98], [2, 1]))
    assert (headline, shown) == ("Fine-tune first: b", [1])


def test_a_verdict_does_not_contradict_the_resamples():
    """The largest score need not be the most probable first where rows are few."""
    ranking = resampled([2.0, 1.5, 1.0], [0.0, 0.44, 0.1], [1, 1, 2])
    headline, sentences, shown = verdict(ranking)
    assert "first: a" not in headline
    assert "a has the largest score, but b is more often first" in sentences[0]
    assert shown == [1, 0]


def test_a_verdict_on_many_shows_the_most_probable():
    score = np.linspace(2.0, 1.0, 8)
    probability = [0.3, 0.05, 0.2, 0.05, 0.25, 0.05, 0.05, 0.05]
    headline, _, shown = verdict(resampled(score, probability, [1] * 8))
    assert headline == "No clear first: 8 of 8 candidates may be it"
    assert shown == [0, 4, 2]


def test_a_verdict_on_one_candidate_compares_nothing():
    headline, sentences, shown = verdict(Ranking.from_scores({"a": 1.0}))
    assert headline == "The only candidate: a"
    assert "nothing was compared" in sentences[0]
    assert shown == [0]


def test_intervals_are_drawn_where_they_lie():
    """The scale goes from zero to the largest upper end."""
    ranking = resampled([1.0, 3.7], [0.0, 1.0], [2, 1])
    tags = Document(ranking_report(ranking)).tags
    at = [i for i, (_, attrs) in enumerate(tags) if attrs.get("class") == "bar interval"]
    styles = [[tags[i + k][1]["style"] for k in (1, 2)] for i in at]
    drawn = [[float(x) for x in re.findall(r"[0-9.]+(?=%)", " ".join(s))] for s in styles]
    # left and width of the interval, and the place of the score; best candidate first.
    np.testing.assert_allclose(drawn, [[90, 10, 92.5], [22.5, 10, 25]], atol=0.06)


def test_warnings_of_the_ranking_follow_the_verdict():
    ranking = Ranking({"model": ["a", "b"], "score": [1.0, 0.0]}, notes=["n = 9 rows are few"])
    report = ranking_report(ranking)
    assert '<p class="warning">n = 9 rows are few</p>' in report
    assert Document(report).text.count("n = 9 rows are few") == 1


def test_size_of_the_weights_is_four_bytes_for_a_parameter(ranking):
    ranking.results["n_parameters"] = np.array([25e6, 1e6, np.nan, 5e5])
    rows = [row for row in Document(ranking_report(ranking)).rows if row]
    sizes = [row[5] for row in rows]
    assert sizes == ["4.0", "2.0", "100.0", "-"]


def test_style_and_script_are_those_of_the_package(report):
    for name, tag in (("report.css", "style"), ("report.js", "script")):
        text = (
            resources.files("sklearn_ncti._ranking.report")
            .joinpath(name)
            .read_text(encoding="utf-8")
        )
        assert f"<{tag}>\n{text}</{tag}>" in report


def test_nothing_of_the_users_becomes_markup(report):
    document = Document(report)
    assert [tag for tag, _ in document.tags].count("script") == 1
    assert HOSTILE not in report


@pytest.mark.parametrize(
    "name", [r"$\frac$", "$$", "mod\udce8le", "a\x00b", "\x1b]0;title\x07\x9b1m\u202ea\n\r\x7f"]
)
def test_a_report_of_any_name(name):
    data = RankedData(np.array([name, "other"], dtype=object), np.array([6, 5]))
    results = {
        "model": np.array([name, "b", f"bad {name}"], dtype=object),
        "score": [1.0, 0.0, np.nan],
        "license": np.array([name, "", ""], dtype=object),
        name: [1.0, 0.0, np.nan],
        f"{name}_rank": [1, 2, 3],
        "error": np.array(["", "", f"ValueError: {name}\nsecond line"], dtype=object),
    }
    ranking = Ranking(results, normalization="minmax", weights={}, scorers=[name])
    settings = {"folder": name, name: [name]}
    report = ranking_report(ranking, data, settings=settings, pretrained=Pretrained(name))
    document, shown = Document(report), printable(name)
    assert f"Fine-tune first: {shown}" in document.text
    assert f"{shown} 6" in document.text
    # A message keeps its lines.
    message = printable(f"ValueError: {name}\nsecond line", keep="\n")
    assert " ".join(message.split()) in document.text
    code = fine_tuning_code(Pretrained(name), 2)
    assert literal_eval(re.search(r"create_model\((.+), pretrained", code).group(1)) == name
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


def test_no_picture_of_speed_where_none_was_measured(ranking):
    ranking.results["images_per_second"] = np.full(4, np.nan)
    document = Document(ranking_report(ranking))
    assert "svg" not in [tag for tag, _ in document.tags]
    assert "images/s" not in document.text


def test_the_lines_of_timm_fine_tune_a_model(images, tmp_path, monkeypatch):
    torch = pytest.importorskip("torch")
    pytest.importorskip("timm")
    pytest.importorskip("torchvision")
    (tmp_path / "images").rename(tmp_path / "train")
    monkeypatch.chdir(tmp_path)
    code = fine_tuning_code(Pretrained(load_zoo()[0][1].model), 3)
    names = {}
    exec(code.replace("range(10)", "range(2)"), names)
    assert names["logits"].shape == (18, 3)
    assert torch.isfinite(names["loss"])
    # The weights have moved.
    fresh = {}
    exec(code.partition("config")[0], fresh)
    pairs = zip(names["model"].parameters(), fresh["model"].parameters(), strict=True)
    assert any(not torch.equal(a.cpu(), b.cpu()) for a, b in pairs)


def test_from_the_command_line(capsys, images, tmp_path, monkeypatch):
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
    assert sum(tag == "img" for tag, _ in document.tags) == 12
    assert "n_components4" in document.text
    assert "device" in document.terms
    assert not {"html", "json", "run", "force"} & set(document.terms)
    # An existing file is refused before any work.
    file.write_text("precious")
    assert main(command) == 2
    assert file.read_text() == "precious"
    assert main([*command, "--n-components", "4", "--force"]) == 0
    assert file.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


def test_a_class_whose_name_is_not_utf8(capsys, images, tmp_path, monkeypatch):
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
    text = Document(file.read_text(encoding="utf-8")).text
    assert rf"{renamed.name[:3]}\udce8le $$ 6" in text


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
    const table = document.querySelector("table.ranking");
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


def test_filter_and_columns_in_a_browser(browse, report):
    probe = """
    const table = document.querySelector("table.ranking");
    const visible = () => [...table.tBodies[0].rows].filter((row) => !row.hidden)
      .map((row) => row.cells[0].textContent).join("");
    const filter = (text) => {
      const box = document.querySelector("input[type=search]");
      box.value = text;
      box.dispatchEvent(new Event("input"));
      return [visible(), document.querySelector("output").textContent];
    };
    const widths = () => [...table.tHead.rows[0].cells].map((head) => head.offsetWidth > 0);
    const names = [...table.tHead.rows[0].cells].map((head) => head.textContent);
    const choice = (name) => [...document.querySelectorAll(".choices label")]
      .find((label) => label.textContent === name).querySelector("input").click();
    const found = { names, filtered: [filter("NET"), filter("nothing"), filter("")] };
    found.before = widths();
    choice("raw ncc");
    choice("images/s");
    found.after = widths();
    """
    markup, console = browse(report.replace("</body>", f"<script>{probe}{SHOW}</script></body>"))
    assert console == []
    found = result_of(markup)
    assert found["filtered"] == [["3", "1 of 4"], ["", "0 of 4"], ["1234", ""]]
    before = dict(zip(found["names"], found["before"], strict=True))
    after = dict(zip(found["names"], found["after"], strict=True))
    assert {name for name in before if before[name] != after[name]} == {"raw ncc", "images/s"}
    assert (before["raw ncc"], before["images/s"]) == (False, True)


def test_the_browser_tells_of_errors(browse):
    """An empty console means no errors only if errors are shown there."""
    _, console = browse("<script>nowhere()</script><script>console.error('mine')</script>")
    assert len(console) == 2


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_is_cut_on_any_screen(browse, report, width):
    style = f"width: {width}px; height: 800px"
    frame = f"<iframe style='{style}' srcdoc='{escape_attribute(report)}'>"
    probe = """
    const frame = document.querySelector("iframe");
    frame.addEventListener("load", () => {
      const inside = frame.contentDocument, root = inside.documentElement;
      const parts = [...inside.querySelectorAll("td, th, .box, svg, img, figure, p, li, dd")];
      const right = (part) => part.getBoundingClientRect().right;
      const found = {
        page: [root.scrollWidth, root.clientWidth],
        cut: parts.filter((part) => right(part) > root.clientWidth + 0.5).length,
        scrolled: parts.filter((part) => part.scrollWidth > part.clientWidth + 1
          && part.matches(".box")).length,
        parts: parts.length,
      };
      SHOW
    });
    """.replace("SHOW", SHOW)
    markup, _ = browse(f"<body>{frame}</iframe><script>{probe}</script></body>")
    found = result_of(markup)
    scrolled, inner = found["page"]
    assert scrolled == inner <= width
    assert (found["cut"], found["scrolled"]) == (0, 0)
    assert found["parts"] > 40


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


@pytest.mark.parametrize("kind", ["bert", "gpt2"])
def test_the_lines_of_transformers_fine_tune_an_encoder(tmp_path, monkeypatch, kind):
    pool, torch = pytest.importorskip("text_pool"), pytest.importorskip("torch")
    folder = pool.write_text_model(tmp_path / kind, kind).removeprefix("local-dir:")
    texts, labels = pool.make_texts(40)
    with (tmp_path / "train.csv").open("w", encoding="utf-8", newline="") as file:
        rows = zip(texts, labels, strict=True)
        csv.writer(file).writerows([("text", "label"), *rows, ("word " * 600, labels[0])])
    monkeypatch.chdir(tmp_path)
    code = fine_tuning_code(Pretrained(folder, "transformers"), 3)
    names = {}
    exec(code, names)
    assert names["model"].num_labels == 3
    assert torch.isfinite(names["loss"])
    fresh = {}
    exec(code.partition("longest")[0], fresh)
    # The pre-trained weights are where it begins, and all of them have moved.
    begin, end = (dict(found["model"].base_model.named_parameters()) for found in (fresh, names))
    stored = pool.transformers.AutoModel.from_pretrained(folder).state_dict()
    word = next(name for name in stored if name.endswith(("word_embeddings.weight", "wte.weight")))
    assert torch.equal(begin[word].cpu(), stored[word])
    assert not torch.equal(begin[word], end[word])


def test_the_lines_of_transformers_name_what_was_ranked():
    model = Pretrained("owner/it's", "transformers", revision="v1", trust_remote_code=True)
    code = fine_tuning_code(model, 2)
    assert literal_eval(re.search(r"^name = (.+)$", code, re.MULTILINE).group(1)) == "owner/it's"
    assert code.count("revision='v1', trust_remote_code=True") == 2
    compile(code, "report", "exec")


def test_nothing_is_proposed_for_texts_without_an_encoder(ranking):
    data = RankedData(np.array(["a", "b"]), np.array([3, 3]), examples={0: ["a text"]})
    assert "How to fine-tune it" not in ranking_report(ranking, data)
    model = Pretrained("folder", "transformers")
    report = ranking_report(ranking, data, pretrained=model)
    assert "AutoModelForSequenceClassification" in report
    assert "timm.create_model" not in report
