"""benchmarks/fidelity.py reads the documented format and measures what a Ranking does."""

import json
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import pytest
from helpers import make_problem

from sklearn_ncti import NCTIScorer, rank_features
from sklearn_ncti.companions import LogME

SCRIPT = Path(__file__).resolve().parents[1] / "benchmarks" / "fidelity.py"


@pytest.fixture
def fidelity(monkeypatch):
    spec = spec_from_file_location("fidelity", SCRIPT)
    module = module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "fidelity", module)
    spec.loader.exec_module(module)
    # Two are enough to see their results.
    monkeypatch.setattr(module, "SUMS", {"NCTI cv=5": NCTIScorer(cv=5)})
    monkeypatch.setattr(module, "OTHERS", {"LogME": LogME()})
    return module


@pytest.fixture
def data(tmp_path):
    """Features of four models on two data sets, written in the documented format."""
    features, accuracies = {}, {}
    for i, name in enumerate(("one", "two")):
        X, y = make_problem(n=200, d=10, n_classes=4, spread=1.0, seed=i)
        noise = np.random.default_rng(i).normal(size=X.shape)
        models = {f"m{a}": X + a * noise for a in (1, 0, 3, 2)}
        (tmp_path / "features" / name).mkdir(parents=True)
        np.save(tmp_path / "features" / name / "labels.npy", y)
        for model, Z in models.items():
            np.save(tmp_path / "features" / name / f"{model}.npy", Z)
        features[name] = models, y
        accuracies[name] = dict(zip(models, (90.0, 95.0, 70.0 + 22 * i, 80.0), strict=True))
    return features, accuracies, tmp_path


def run(fidelity, accuracies, folder):
    file, report = folder / "accuracies.json", folder / "report.json"
    file.write_text(json.dumps(accuracies))
    fidelity.main([str(folder / "features"), str(file), "--resamples", "20", f"--json={report}"])
    return json.loads(report.read_text())


def test_measures_are_those_of_a_ranking(fidelity, data, capsys):
    features, accuracies, folder = data
    rows = run(fidelity, accuracies, folder)
    assert len(rows) == 2 * (2 * 4 + 1)
    for row in rows:
        scorer = {"NCTI": None, "NCTI cv=5": NCTIScorer(cv=5), "LogME": LogME()}[row["scorer"]]
        how = row["normalization"] or "minmax"
        ranking = rank_features(*features[row["data"]], scorer=scorer, normalization=how)
        expected = ranking.agreement(accuracies[row["data"]])
        found = [row[name] for name in fidelity.MEASURES]
        assert found == pytest.approx(list(expected.values())[:5])
    table = capsys.readouterr().out
    for title in ("one: 4 models, 200 rows", "two: 4 models", "average over 2 data sets"):
        assert title in table


def test_intervals_hold_what_was_observed(fidelity):
    rng = np.random.default_rng(0)
    accuracy = rng.normal(size=40)
    score = accuracy + 0.5 * rng.normal(size=40)
    observed = fidelity.measure(score, accuracy)
    low, high = np.quantile(fidelity.measure_drawn(score, accuracy, 100), [0.025, 0.975], axis=0)
    assert (low <= observed).all()
    assert (observed <= high).all()
    # A score that is the accuracy itself is so in every draw.
    perfect = fidelity.measure_drawn(accuracy, accuracy, 20)
    np.testing.assert_allclose(perfect, np.tile([1, 1, 1, 0, 0], (20, 1)), atol=1e-12)


def test_models_without_features_or_accuracy_are_named(fidelity, data, capsys):
    _, accuracies, folder = data
    accuracies["one"]["absent"] = 50.0
    del accuracies["one"]["m2"]
    run(fidelity, accuracies, folder)
    captured = capsys.readouterr()
    assert "one: left out, in one of the two only: absent, m2" in captured.err
    assert "one: 3 models" in captured.out
    with pytest.raises(SystemExit, match="one: 2 models have features and an accuracy"):
        run(fidelity, {"one": {"m0": 1.0, "m1": 2.0}}, folder)
    with pytest.raises(SystemExit, match="names the data set 'three', but"):
        run(fidelity, {"three": {"m0": 1.0}}, folder)
    with pytest.raises(SystemExit):
        fidelity.main([str(folder)])
