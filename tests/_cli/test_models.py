"""The values of ``--models``: names of candidates and what they stand for."""

import csv
import json

import pytest

from sklearn_ncti._cli.feature_files import UsageError
from sklearn_ncti._cli.models import shown_names, split_models

ROWS = [("one", "a"), ("two", "b"), ("three", "a"), ("four", "b")]


@pytest.mark.parametrize(
    ("value", "model", "name"),
    [
        ("resnet18", "resnet18", None),
        ("mine=resnet18", "resnet18", "mine"),
        ("my net=local-dir:a/b", "local-dir:a/b", "my net"),
        # A path may contain "=", and a name neither ":" nor "/".
        ("local-dir:runs/lr=0.1", "local-dir:runs/lr=0.1", None),
        ("local-dir:lr=0.1", "local-dir:lr=0.1", None),
        ("runs/lr=0.1", "runs/lr=0.1", None),
        ("best=local-dir:runs/lr=0.1", "local-dir:runs/lr=0.1", "best"),
    ],
)
def test_what_is_a_name(value, model, name):
    assert split_models([value]) == ([model], {} if name is None else {model: name})


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (["=resnet18"], "--models =resnet18 is not of the form NAME=MODEL"),
        ([" =resnet18"], "is not of the form NAME=MODEL"),
        (["mine="], "--models mine= is not of the form NAME=MODEL"),
        (["a=resnet18", "a=resnet34"], "--models has two models named 'a'; choose another name"),
        (["a=resnet*"], "'resnet*' is a wildcard, and a name is that of one model"),
        (["prior=resnet18"], "the name 'prior' is reserved; choose another"),
        (["a__b=resnet18"], "the name 'a__b' is reserved"),
    ],
)
def test_names_that_are_none(values, reason):
    with pytest.raises(UsageError) as seen:
        split_models(values)
    assert reason in str(seen.value)


def test_shown_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    models = ["resnet18", "local-dir:zoo/a/x", "local-dir:zoo/b/x", "local-dir:c", "hf-hub:o/n"]
    given = {"local-dir:c": "mine"}
    shown = {"local-dir:zoo/a/x": "a/x", "local-dir:zoo/b/x": "b/x", "local-dir:c": "mine"}
    assert shown_names(models, given) == {model: shown.get(model, model) for model in models}
    # A folder makes way for a name that was given; another model cannot.
    assert shown_names(["local-dir:zoo/x", "a"], {"a": "x"})["local-dir:zoo/x"] == "zoo/x"
    with pytest.raises(UsageError, match="2 models named 'a'; give one another name, as NAME="):
        shown_names(["a", "b"], {"b": "a"})
    with pytest.raises(UsageError, match="2 models named 'x'"):
        shown_names(["local-dir:x", "local-dir:./x"], {})


@pytest.fixture(scope="module")
def encoders(tmp_path_factory):
    """Names of two encoders in folders of one name and one in another, and a table of texts."""
    pool = pytest.importorskip("text_pool")
    top = tmp_path_factory.mktemp("encoders")
    for name in ("a", "b"):
        (top / name).mkdir()
    places = ("a/net", "b/net", "other")
    names = [pool.write_text_model(top / place, seed=i) for i, place in enumerate(places)]
    table = top / "texts.csv"
    with table.open("w", encoding="utf-8", newline="") as lines:
        csv.writer(lines).writerows([("text", "label"), *zip(*pool.make_texts(60), strict=True)])
    return names, str(table)


def test_the_names_are_in_all_outputs(run, encoders, tmp_path):
    (first, second, third), table = encoders
    json_file, csv_file = tmp_path / "r.json", tmp_path / "r.csv"
    numbers = tmp_path / "numbers.json"
    # Both spellings are those of one candidate.
    numbers.write_text(json.dumps({"mine": 3.0, first: 2.0, "b/net": 1.0}))
    status, out, err = run(
        *("rank", table, "--text", "text", "--models", first, second, f"mine={third}"),
        *("--device", "cpu", "--n-components", "4", "--baseline", str(numbers)),
        *("--prior", str(numbers), "--json", str(json_file), "--csv", str(csv_file)),
    )
    assert status == 0, err
    document = json.loads(json_file.read_text())
    found = {row["model"]: row for row in document["results"]}
    assert found.keys() == {"a/net", "b/net", "mine"}
    for column in ("baseline", "prior"):
        values = {name: row[column] for name, row in found.items()}
        assert values == {"mine": 3.0, "a/net": 2.0, "b/net": 1.0}
    assert document["best"] in found
    # What each name stands for is not lost.
    assert document["models"] == {"a/net": first, "b/net": second, "mine": third}
    with csv_file.open(newline="") as lines:
        assert {row["model"] for row in csv.DictReader(lines)} == found.keys()
    assert {line.split()[1] for line in out.splitlines()[1:4]} == found.keys()
    assert "local-dir:" not in out + err


def test_the_plan_has_the_names(run, encoders, tmp_path):
    (first, second, third), table = encoders
    file = tmp_path / "plan.json"
    status, _, err = run(
        *("rank", table, "--text", "text", "--models", first, second, f"mine={third}"),
        *("--dry-run", "--json", str(file)),
    )
    assert status == 0, err
    plan = json.loads(file.read_text())["plan"]
    assert [row["name"] for row in plan["candidates"]] == ["a/net", "b/net", "mine"]


def test_the_plan_has_names_of_the_catalogue(run, tmp_path, monkeypatch):
    pytest.importorskip("timm")
    images = pytest.importorskip("PIL.Image")
    for label in "ab":
        (tmp_path / "images" / label).mkdir(parents=True)
        images.new("RGB", (8, 8)).save(tmp_path / "images" / label / "1.png")
    file = tmp_path / "plan.json"
    command = ["rank", str(tmp_path / "images"), "--models", "mine=resnet18.a1_in1k", "resnet1?"]
    status, _, err = run(*command, "--dry-run", "--json", str(file))
    assert status == 0, err
    plan = json.loads(file.read_text())["plan"]
    names = [row["name"] for row in plan["candidates"]]
    assert names[0] == "mine"
    assert "resnet18.a1_in1k" not in names
    # Facts are those of the model.
    assert plan["candidates"][0]["n_parameters"] == pytest.approx(11.7e6, rel=0.05)


def test_a_folder_given_as_a_model_is_refused_with_what_to_write(run, tmp_path, monkeypatch):
    pytest.importorskip("timm")
    monkeypatch.chdir(tmp_path)
    for name in ("zoo/net", "mine", "images/a", "images/b"):
        (tmp_path / name).mkdir(parents=True)
    for label in "ab":
        (tmp_path / "images" / label / "1.png").touch()
    (tmp_path / "t.csv").write_text("text,label\n" + "".join(f"{t},{y}\n" for t, y in ROWS))
    whole = str(tmp_path / "mine")
    for model in ("zoo/net", "./zoo/net", "mine", whole):
        for source in (["images"], ["t.csv", "--text", "text"]):
            status, out, err = run("rank", *source, "--models", model)
            assert (status, out, len(err.splitlines())) == (2, "", 1)
            assert f"is a folder: write 'local-dir:{model}'" in err
    # A text encoder of that name may be on the hub.
    assert (
        "or 'hf-hub:zoo/net'" in run("rank", "t.csv", "--text", "text", "--models", "zoo/net")[2]
    )


def test_one_model_is_shown_with_its_absolute_score(run, encoders, tmp_path):
    (model, *_), table = encoders
    command = ["rank", table, "--text", "text", "--models", model, "--device", "cpu"]
    command += ["--n-components", "4", "--json", str(tmp_path / "r.json"), "--force"]
    status, out, err = run(*command)
    assert status == 0, err
    document = json.loads((tmp_path / "r.json").read_text())
    assert document["normalization"] == "absolute"
    row = document["results"][0]
    parts = [row[f"normalized_{name}"] for name in ("seli", "ncc", "vc")]
    assert row["score"] == pytest.approx(sum(parts))
    assert 0 < row["score"] <= 3
    shown = " ".join(out.split())
    assert "net is the only candidate, and there is nothing to compare it with." in shown
    # What is asked for is done.
    status, out, _ = run(*command, "--normalization", "minmax")
    assert json.loads((tmp_path / "r.json").read_text())["results"][0]["score"] == 0
    shown = " ".join(out.split())
    assert f"absolute score is {row['score']:.2f} (--normalization absolute)." in shown


@pytest.mark.parametrize("options", [[], ["--halving"]], ids=["all", "halving"])
def test_a_missing_device_is_one_line_and_status_2(run, encoders, tmp_path, options):
    names, table = encoders
    status, out, err = run(
        *("rank", table, "--text", "text", "--models", *names, "--device", "cuda:99", *options),
        *("--json", str(tmp_path / "r.json")),
    )
    assert (status, out, len(err.splitlines())) == (2, "", 1)
    assert err.startswith("sklearn-ncti rank: error: --device cuda:99 cannot be used here: ")
    assert "or --device cpu." in err
    assert not (tmp_path / "r.json").exists()


@pytest.mark.parametrize("dry_run", [[], ["--dry-run"]], ids=["rank", "plan"])
@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (["=o/n"], "is not of the form NAME=MODEL"),
        (["a=o/n", "a=o/m"], "two models named 'a'"),
        (["a=o/n", "b=o/n"], "the model 'o/n' is given twice: leave one out"),
        (["o/n", "a=o/n"], "the model 'o/n' is given twice: leave one out"),
    ],
)
def test_wrong_names_are_one_line_and_status_2(run, tmp_path, values, reason, dry_run):
    table = tmp_path / "t.csv"
    table.write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in ROWS))
    status, out, err = run("rank", str(table), "--text", "text", "--models", *values, *dry_run)
    assert (status, out, len(err.splitlines())) == (2, "", 1)
    assert reason in err
