"""Files and labels that the command line reads or refuses."""

import os

import numpy as np
import pytest


@pytest.mark.parametrize("option", [["--resamples", "50"], ["--cv", "2"]], ids=" ".join)
def test_a_class_of_one_row_is_refused(run, tmp_path, option):
    lonely = tmp_path / "lonely.npz"
    np.savez(
        lonely, features=np.random.default_rng(0).normal(size=(9, 2)), labels=[7] + [1, 2] * 4
    )
    status, _, err = run("score", str(lonely), *option)
    assert status == 2
    assert f"error: {' '.join(option)} needs at least 2 rows of every class, but 7 has 1" in err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--cv", "700"], "--cv 700 needs a class of at least 700 rows, but the largest, "),
        (["--resamples", "50", "--cv", "5"], "--resamples 50 and --cv 5 exclude each other"),
    ],
    ids=" ".join,
)
def test_options_that_the_rows_refuse(run, files, options, message):
    status, out, err = run("score", *files, *options)
    assert (status, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert message in err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "is not a readable JSON file: "),
        ("wide: 1", "is not a readable JSON file: "),
        ("[1, 2]", "is not a JSON object; it must map model names to numbers, such as"),
        ("{}", "baseline is empty"),
        ('{"wide": "69.8"}', "has '69.8' for 'wide'; it must map"),
        ('{"wide": true}', "has True for 'wide'; it must map"),
        ('{"wide": NaN}', "baseline['wide'] is nan; it must be a finite number"),
        ('{"wide": 1, "wide": 2}', "has ['wide'] more than once"),
        ('{"Wide": 1}', "baseline has none of the candidates: it has ['Wide'], and they are"),
    ],
)
def test_refused_baselines(run, files, tmp_path, text, message):
    file = tmp_path / "published.json"
    if text is not None:
        file.write_text(text)
    status, out, err = run("score", *files, "--baseline", str(file))
    assert (status, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert err.startswith(f"sklearn-ncti score: error: --baseline {file}")
    assert message in err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "is not a readable JSON file"),
        ("3", "must hold an object such as"),
        ("{}", "prior is empty"),
        ('{"Wide": 1}', "prior has none of the candidates"),
        ('{"wide": NaN}', "prior['wide'] is nan; it must be a finite number"),
        ('[{"wide": 1}, {"wide": "x"}]', "prior[1]['wide'] is 'x'"),
        ('[{"wide": 1}, {"wide": 1, "wide": 2}]', "it has ['wide'] more than once"),
    ],
)
def test_refused_priors(run, files, tmp_path, text, message):
    file = tmp_path / "records.json"
    if text is not None:
        file.write_text(text)
    status, out, err = run("score", *files, "--prior", str(file))
    assert (status, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert err.startswith(f"sklearn-ncti score: error: --prior {file}")
    assert message in err


@pytest.mark.parametrize(
    ("word", "needs"), [("imagenet", "the names of timm models"), ("weights", "networks")]
)
def test_features_have_no_priors_of_models(run, files, word, needs):
    status, _, err = run("score", *files, "--prior", word)
    assert status == 2
    assert f"--prior {word} needs {needs}, which `score` does not know" in err


def test_a_prior_is_added_to_the_score(run, files, tmp_path):
    records = tmp_path / "records.json"
    records.write_text('[{"wide": 1, "narrow": 2}, {"wide": 10, "narrow": 30}]')
    status, out, _ = run("score", *files, "--prior", str(records))
    assert status == 0
    assert "score = seli + ncc + vc + prior (minmax" in out
    # Nor is it overwritten.
    status, _, err = run(
        "score", *files, "--prior", str(records), "--json", str(records), "--force"
    )
    assert status == 2
    assert "records.json" in err


def test_the_robust_scorer_and_leave_one_out(run, files):
    status, out, _ = run("score", *files, "--scorer", "robust")
    assert status == 0
    assert "scorer: robust, that is NearestCenterClassifier(cv='loo'" in out
    status, left_out, _ = run("score", *files, "--cv", "loo", "--shrinkage", "scale-free")
    assert status == 0
    assert "score = seli + ncc + vc" in left_out
    for options in (["--cv", "3"], ["--resamples", "50"], ["--shrinkage", "0.1"]):
        status, _, err = run("score", *files, "--scorer", "robust", *options)
        assert status == 2
        assert f"--scorer robust excludes {options[0]}" in err
    assert run("score", *files, "--cv", "lou")[0] == 2


def test_same_stems_are_told_apart_by_their_paths(run, files, tmp_path):
    (tmp_path / "other").mkdir()
    twin = tmp_path / "other" / "wide.npz"
    with np.load(files[1]) as arrays:
        np.savez(twin, **arrays)
    _, out, _ = run("score", files[0], str(twin))
    assert str(twin) in out
    assert files[0] in out


def test_folders_that_cannot_be_read(run, image_folder, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", refuse)
    status, out, err = run("rank", str(image_folder), "--models", "x")
    assert (status, out) == (2, "")
    assert f"the folder {str(image_folder)!r} cannot be read (Permission denied)" in err


def test_splits_are_refused_with_the_option_to_write(run, tmp_path, monkeypatch):
    monkeypatch.setattr("sklearn_ncti._cli.commands.expand_model_names", list)
    for name in ("train/a/1.png", "train/b/1.png", "test/a/1.png", "test/b/1.png"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    status, out, err = run("rank", str(tmp_path), "--models", "x")
    assert (status, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert "holds 'test', 'train', which look like splits" in err
    assert "Choose one of them with --split 'train'; with --split '.' all of them" in err
    assert "split=" not in err
    # Past the folder, the model is what is wrong.
    _, _, err = run("rank", str(tmp_path), "--split", "train", "--models", "x")
    assert "1 models on 2 images of 2 classes" in err
    status, _, err = run("rank", str(tmp_path), "--split", "no", "--models", "x")
    assert status == 2
    assert "--split no is no sub-folder of" in err
