"""benchmarks/fidelity.py reads the documented format and measures what a Ranking does."""

import json
import sys
from importlib.util import module_from_spec, spec_from_file_location
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from helpers import make_problem

from sklearn_ncti import NCTIScorer, Ranking, rank_features
from sklearn_ncti.companions import LogME

SCRIPT = Path(__file__).resolve().parents[1] / "benchmarks" / "fidelity.py"


@pytest.fixture
def fidelity(monkeypatch):
    spec = spec_from_file_location("fidelity", SCRIPT)
    module = module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "fidelity", module)
    spec.loader.exec_module(module)
    # Few are enough to see their results.
    chosen = {name: module.NCTI[name] for name in ("NCTI", "NCTI loo, scale-free")}
    monkeypatch.setattr(module, "NCTI", chosen)
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


def run(fidelity, accuracies, folder, *options):
    """The lists that the script writes, by data set, scorer, sum and normalisation."""
    file, report = folder / "accuracies.json", folder / "report.json"
    file.write_text(json.dumps(accuracies))
    fidelity.main(
        [str(folder / "features"), str(file), "--resamples=20", f"--json={report}", *options]
    )
    rows = json.loads(report.read_text())
    keys = ("data", "scorer", "sum", "normalization")
    found = {tuple(row[k] for k in keys): [row[m] for m in fidelity.MEASURES] for row in rows}
    assert len(found) == len(rows)
    return found


def expected(features, accuracies, name, **options):
    """The measures of a ranking by the package itself."""
    ranking = rank_features(*features[name], **options)
    return pytest.approx(list(ranking.agreement(accuracies[name]).values())[:5])


def test_measures_are_those_of_a_ranking(fidelity, data):
    features, accuracies, folder = data
    found = run(fidelity, accuracies, folder, "--normalization", "minmax", "rank")
    assert len(found) == 2 * (2 * 2 * 11 + 1)
    careful = NCTIScorer(cv="loo", shrinkage="scale-free")
    for name, how in product(accuracies, ("minmax", "rank")):
        for scorer, estimator in (("NCTI", None), ("NCTI loo, scale-free", careful)):
            options = {"scorer": estimator, "normalization": how}
            assert found[name, scorer, "seli + ncc + vc", how] == expected(
                features, accuracies, name, **options
            )
            assert found[name, scorer, "seli - vc", how] == expected(
                features, accuracies, name, **options, weights={"ncc": 0, "vc": -1}
            )
        assert found[name, "NCTI loo, scale-free", "ncc", how] == expected(
            features, accuracies, name, scorer="robust", normalization=how
        )
        assert found[name, "LogME", "", ""] == expected(features, accuracies, name, scorer=LogME())


def test_priors_are_those_of_a_ranking(fidelity, data):
    features, accuracies, folder = data
    known = {"m0": 3.0, "m1": 1.0, "m3": 2.0, "another": 5.0}
    (folder / "prior.json").write_text(json.dumps(known))
    from_file = run(fidelity, accuracies, folder, f"--prior={folder / 'prior.json'}")
    assert len(from_file) == 2 * (2 * 22 + 2)
    others = run(fidelity, accuracies, folder, "--prior=others")
    for name, other in (("one", "two"), ("two", "one")):
        key = (name, "NCTI", "seli + ncc + vc + prior", "minmax")
        assert from_file[key] == expected(features, accuracies, name, prior=known)
        assert others[key] == expected(features, accuracies, name, prior=[accuracies[other]])
        alone = Ranking.from_scores(accuracies[other]).agreement(accuracies[name])
        assert others[name, "prior alone", "", ""] == pytest.approx(list(alone.values())[:5])
    absolute = run(fidelity, accuracies, folder, "--prior=others", "--normalization=absolute")
    assert not any(text.endswith("prior") for _, _, text, _ in absolute)


def test_a_prior_that_no_model_has_is_named(fidelity, data):
    _, accuracies, folder = data
    with pytest.raises(SystemExit, match="one: --prior others: prior is an empty list"):
        run(fidelity, {"one": accuracies["one"]}, folder, "--prior=others")
    (folder / "prior.json").write_text('{"another": 1.0}')
    with pytest.raises(SystemExit, match=r"one: --prior .* has none of the candidates"):
        run(fidelity, accuracies, folder, f"--prior={folder / 'prior.json'}")


def test_the_table_has_the_best_lists_first(fidelity, data, capsys):
    _, accuracies, folder = data
    found = run(fidelity, accuracies, folder, "--rows=0")
    table = capsys.readouterr().out
    assert "one: 4 models, 200 rows\ntwo: 4 models, 200 rows\nMeans over 2 data set(s)" in table
    lines = [line for line in table.splitlines() if line[:5].strip().isdigit()]
    assert len(lines) == len(found) / 2
    means = [float(line.partition("[")[0].split()[-1]) for line in lines]
    assert means == sorted(means, reverse=True)
    of_both = [(found[k][0] + found["two", *k[1:]][0]) / 2 for k in found if k[0] == "one"]
    assert means == pytest.approx(sorted(of_both, reverse=True), abs=0.006)
    # Few rows still have the default, the robust and the other scorers.
    run(fidelity, accuracies, folder, "--rows=1")
    table = capsys.readouterr().out
    lines = [line for line in table.splitlines() if line[:5].strip().isdigit()]
    assert 3 <= len(lines) <= 4
    assert "of 23 lists are not shown" in table


def test_a_scorer_that_fails_on_a_data_set_is_left_out_there(fidelity, data, monkeypatch):
    features, accuracies, folder = data
    y = np.arange(200) % 4
    y[y == 3] = 2
    y[7] = 3
    np.save(folder / "features" / "two" / "labels.npy", y)
    monkeypatch.setitem(fidelity.NCTI, "NCTI cv=5", NCTIScorer(cv=5))
    found = run(fidelity, accuracies, folder)
    key = ("NCTI cv=5", "seli + ncc + vc", "minmax")
    assert found["one", *key] == expected(features, accuracies, "one", scorer=NCTIScorer(cv=5))
    assert np.isnan(found["two", *key]).all()


def tables_of(fidelity, accuracies, scores):
    """Tables as `main` makes them: scores and measures by data set and list."""
    return {
        name: {
            fidelity.List(key): (score, fidelity.measure(score, accuracy))
            for key, score in scores[name].items()
        }
        for name, accuracy in accuracies.items()
    }


@pytest.mark.parametrize("unit", ["models", "data sets"])
def test_intervals_are_paired(fidelity, unit):
    rng = np.random.default_rng(0)
    accuracies = {f"data {i}": rng.normal(size=12) for i in range(8)}
    scores = {}
    for name, accuracy in accuracies.items():
        near = accuracy + 0.5 * rng.normal(size=12)
        # The second list has the order of the first, the third that of the accuracies.
        scores[name] = {"near": near, "same": 2 * near + 1, "perfect": 3 * accuracy}
    tables = tables_of(fidelity, accuracies, scores)
    drawn = fidelity.resampled_taus(tables, accuracies, unit, 200)
    near, same, perfect = (drawn[fidelity.List(key)] for key in ("near", "same", "perfect"))
    assert near.shape == (200, 8)
    np.testing.assert_allclose(same, near, atol=1e-12)
    np.testing.assert_allclose(perfect, 1, atol=1e-12)
    observed = np.mean([table[fidelity.List("near")][1][0] for table in tables.values()])
    low, high = np.quantile(near.mean(axis=1), [0.025, 0.975])
    assert low < observed < high
    summary = fidelity.summarise(tables, accuracies, unit, 200)
    means, difference, _, of_difference = summary[fidelity.List("same")]
    assert means[0] == pytest.approx(observed)
    assert difference == pytest.approx(0, abs=1e-12)
    assert of_difference == "[ 0.00,  0.00]"
    _, difference, of_tau, _ = summary[fidelity.List("perfect")]
    assert difference == pytest.approx(1 - observed)
    assert of_tau == "[ 1.00,  1.00]"


def test_resampled_models_are_those_of_a_plain_loop(fidelity):
    """Equal values, and candidates without a score, are left to the measure itself."""
    rng = np.random.default_rng(1)
    score, accuracy = rng.normal(size=(2, 9))
    score[3] = np.nan
    score[4] = score[5] * (1 + 1e-9)
    found = fidelity.taus_of_models(score, accuracy, 30, seed=4)
    draws = np.random.default_rng(4).integers(0, 9, (30, 9))
    plain = [fidelity.measure(score[rows], accuracy[rows])[0] for rows in draws]
    np.testing.assert_allclose(found, plain)


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
