"""`rank --text`: text encoders on the texts of a table."""

import csv
import json

import numpy as np
import pytest

from sklearn_ncti import ModelSelector, NCTIScorer, TextBackbone
from sklearn_ncti._selection import plan as planning

ROWS = [("<b>one</b>", "a"), ("two", "b"), ("three", "a"), ("four", "b")]


def write_table(path, rows=ROWS, names=("text", "label")):
    with path.open("w", encoding="utf-8", newline="") as lines:
        csv.writer(lines).writerows([names, *rows])
    return str(path)


@pytest.fixture
def table(tmp_path):
    return write_table(tmp_path / "reviews.csv")


@pytest.fixture
def folder(tmp_path):
    """The name of a folder that looks like an encoder's, with files that are none."""
    folder = tmp_path / "encoder"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "bert"}')
    for name in ("model.safetensors", "vocab.txt"):
        (folder / name).write_text("precious")
    return f"local-dir:{folder}"


@pytest.fixture(scope="module")
def encoders(tmp_path_factory):
    """Names of three encoders, and texts with their labels."""
    pool = pytest.importorskip("text_pool")
    top = tmp_path_factory.mktemp("encoders")
    names = [pool.write_text_model(top / f"m{i}", seed=i) for i in range(3)]
    return names, *pool.make_texts(120)


@pytest.mark.parametrize("form", [".csv", ".tsv", ".parquet", ".jsonl"])
def test_the_ranking_is_that_of_the_selector(run, encoders, tmp_path, form):
    names, texts, labels = encoders
    file = tmp_path / f"reviews{form}"
    if form == ".parquet":
        pyarrow = pytest.importorskip("pyarrow")
        parquet = pytest.importorskip("pyarrow.parquet")
        parquet.write_table(pyarrow.table({"body": texts, "kind": labels.tolist()}), file)
    elif form == ".jsonl":
        rows = [{"body": t, "kind": str(y)} for t, y in zip(texts, labels, strict=True)]
        file.write_text("\n".join(map(json.dumps, rows)))
    else:
        with file.open("w", encoding="utf-8", newline="") as lines:
            writer = csv.writer(lines, delimiter="\t" if form == ".tsv" else ",")
            writer.writerows([("body", "kind"), *zip(texts, labels, strict=True)])
    outputs = [tmp_path / "r.json", tmp_path / "r.csv"]
    status, out, err = run(
        *("rank", str(file), "--text", "body", "--label", "kind", "--models", *names),
        *("--device", "cpu", "--pooling", "max", "--n-components", "4"),
        *("--json", str(outputs[0]), "--csv", str(outputs[1])),
    )
    assert status == 0
    assert "3 models on 120 texts of 3 classes" in err
    models = [TextBackbone(name, pooling="max", device="cpu") for name in names]
    scorer = NCTIScorer(n_components=4)
    expected = ModelSelector(models, scorer=scorer, refit=False).fit(texts, labels)
    best_first = [expected.ranking_.names[i] for i in range(3)]
    document = json.loads(outputs[0].read_text())
    assert [row["model"] for row in document["results"]] == best_first
    assert document["n_rows"] == 120
    with outputs[1].open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    found = {row["model"]: float(row["ncc"]) for row in rows}
    np.testing.assert_allclose(
        [found[name] for name in expected.results_["model"]], expected.results_["ncc"], rtol=1e-5
    )
    assert all(
        row["n_truncated"] == str(n) for row in rows for n in expected.results_["n_truncated"]
    )
    assert [line.split()[1] for line in out.splitlines()[1:4]] == best_first


def test_the_report_shows_escaped_texts_and_code_of_transformers(run, encoders, tmp_path):
    names, texts, labels = encoders
    file = write_table(
        tmp_path / "t.csv", [(f"<b>{t}</b>", y) for t, y in zip(texts, labels, strict=True)]
    )
    page = tmp_path / "report.html"
    pytest.importorskip("matplotlib")
    status, _, _ = run(
        *("rank", file, "--text", "text", "--models", *names, "--device", "cpu"),
        *("--n-components", "4", "--html", str(page)),
    )
    assert status == 0
    html = page.read_text(encoding="utf-8")
    assert "120 texts of 3 classes" in html
    assert "&lt;b&gt;" in html
    assert "<b>pay" not in html
    assert "AutoModelForSequenceClassification" in html
    assert "timm.create_model" not in html
    assert "texts/s" in html


def test_a_second_run_needs_no_weights(run, encoders, tmp_path, monkeypatch):
    names, texts, labels = encoders
    file = write_table(tmp_path / "t.csv", zip(texts, labels, strict=True))
    command = ["rank", file, "--text", "text", "--models", *names, "--device", "cpu"]
    command += ["--n-components", "4", "--cache", str(tmp_path / "cache")]
    _, first, _ = run(*command)

    def refuse(folder, trust):
        raise AssertionError("a network is loaded")

    monkeypatch.setattr("sklearn_ncti.backbones._text.load_module", refuse)
    status, second, _ = run(*command)
    assert (status, second) == (0, first)


def test_successive_halving(run, encoders, tmp_path):
    names, texts, labels = encoders
    file, output = (
        write_table(tmp_path / "t.csv", zip(texts, labels, strict=True)),
        tmp_path / "r.json",
    )
    status, _, err = run(
        *("rank", file, "--text", "text", "--models", *names, "--device", "cpu", "--halving"),
        *("--scorer", "ncti", "--n-components", "4", "--resamples", "40", "--json", str(output)),
    )
    assert status == 0, err
    document = json.loads(output.read_text())
    assert document["n_candidates"][0] == 3
    assert document["n_rows"] == document["n_resources"][-1] <= 120


def test_one_bad_encoder_ends_no_ranking(run, encoders, folder, tmp_path):
    names, texts, labels = encoders
    file = write_table(tmp_path / "t.csv", zip(texts, labels, strict=True))
    status, out, _ = run(
        *("rank", file, "--text", "text", "--models", folder, *names, "--device", "cpu"),
        *("--n-components", "4"),
    )
    assert status == 0
    last = out.splitlines()[4]
    assert "encoder" in last.split()
    assert "-" in last.split()


def test_a_plan_says_what_is_unknown_and_needs_no_network(
    run, table, folder, tmp_path, monkeypatch
):
    def refuse(*args):
        raise AssertionError("a network is run")

    monkeypatch.setattr(planning, "measure_speed", refuse)
    file = tmp_path / "plan.json"
    command = ["rank", table, "--text", "text", "--models", folder, "no-such-owner/model"]
    status, out, _ = run(*command, "--dry-run", "--json", str(file))
    assert status == 0
    plan = json.loads(file.read_text())["plan"]
    assert (plan["n_candidates"], plan["n_images"], plan["n_without_estimate"]) == (2, 4, 2)
    assert [row["downloads"] for row in plan["candidates"]] == [False, True]
    assert [row["download_bytes"] for row in plan["candidates"]] == [0.0, None]
    assert out.splitlines()[0] == "candidates   2 on 4 rows"
    assert "1 more of unknown size" in out
    assert "time         unknown" in out


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--text", "body"], "has no column 'body'; its columns are 'text', 'label'. Name the"),
        (["--text", "text", "--label", "y"], "no column 'y'; its columns are 'text', 'label'"),
        (["--text", "text", "--images", "path"], "--images is for images and models of timm"),
        (["--text", "text", "--workers", "2"], "--workers is for images and models of timm"),
        (["--text", "text", "--skip-bad-images"], "--skip-bad-images is for images and models"),
        (["--text", "text", "--prior", "imagenet"], "--prior imagenet is for images and models"),
        (["--text", "text", "--license", "mit"], "--license is for images and models of timm"),
        (["--text", "text", "--no-self-supervised"], "--self-supervised is for images and mod"),
        (["--text", "text", "--min-top1", "0"], "--min-top1 is for images and models of timm"),
        (
            ["--text", "text", "--halving", "--max-download", "0"],
            "--max-download is for images and models of timm",
        ),
        (["--pooling", "max"], "--pooling max needs --text COLUMN; add that, or leave it out"),
        (
            ["--text", "text", "--pooling", "median"],
            "argument --pooling: invalid choice: 'median'",
        ),
        (["--text", "text", "--split", "train"], "--split train is no value of the column"),
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("dry_run", [[], ["--dry-run"]], ids=["rank", "plan"])
def test_wrong_usage_is_one_line_and_status_2(run, table, folder, options, reason, dry_run):
    status, out, err = run("rank", table, *options, "--models", folder, *dry_run)
    assert (status, out, len(err.splitlines())) == (2, "", 1)
    assert reason in err


@pytest.mark.parametrize(
    ("models", "reason"),
    [
        (["bert*"], "the text model 'bert*' is neither 'local-dir:folder' nor 'owner/name'"),
        (["local-dir:nowhere"], "there is no folder 'nowhere'"),
        (["a/b", "a/b"], "the model 'a/b' is given twice: leave one out"),
    ],
)
def test_names_of_no_encoder(run, table, models, reason):
    status, out, err = run("rank", table, "--text", "text", "--models", *models)
    assert (status, out, len(err.splitlines())) == (2, "", 1)
    assert reason in err


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("t.csv", "text,label\na,x\n,y\n", "has no text in row 2, but ''"),
        ("t.jsonl", '{"text": "a", "label": 1}\n{"label": 2}\n', "no text in row 2, but None"),
        ("t.csv", "text,label\na,x\nb,\n", "has no label in row 2"),
        ("t.csv", "text,label\na,x\nb,x\n", "at least two classes"),
        ("t.txt", "text,label\na,x\n", "--text text needs a .csv, .tsv, .parquet, .jsonl"),
        ("t.csv", None, "cannot be read as a table"),
        ("t.csv", "text,label\nt.csv,x\nt.csv,y\n", "X holds paths of files"),
    ],
)
def test_refused_tables(run, folder, tmp_path, monkeypatch, name, content, reason):
    monkeypatch.chdir(tmp_path)
    if content is not None:
        (tmp_path / name).write_text(content)
    status, out, err = run("rank", name, "--text", "text", "--models", folder)
    assert (status, out, len(err.splitlines())) == (2, "", 1)
    assert reason in err


def test_a_folder_holds_no_texts(run, folder, tmp_path):
    status, out, err = run("rank", str(tmp_path), "--text", "text", "--models", folder)
    assert (status, out, len(err.splitlines())) == (2, "", 1)
    assert "is a folder; name a .csv, .tsv, .parquet, .jsonl, .ndjson file" in err


def test_what_is_read_is_never_written(run, table, folder, tmp_path):
    for file in (
        table,
        *(str(tmp_path / "encoder" / name) for name in ("vocab.txt", "config.json")),
    ):
        command = ["rank", table, "--text", "text", "--models", folder, "--json", file, "--force"]
        status, _, err = run(*command)
        assert status == 2
        assert "is a file that this run reads" in err
    assert (tmp_path / "encoder" / "vocab.txt").read_text() == "precious"
