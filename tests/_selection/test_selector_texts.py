"""ModelSelector over text encoders: shared tokens and passes, cache, faults, other candidates."""

import html
import os
import re
import shutil
import sys
import types

import numpy as np
import pytest
from helpers import OF_FLOAT32
from sklearn.decomposition import TruncatedSVD
from sklearn.exceptions import FitFailedWarning
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
from text_pool import by_hand, edit_json, make_texts, write_text_model  # noqa: E402

from sklearn_ncti import (  # noqa: E402
    HalvingModelSelector,
    ModelSelector,
    NCTIScorer,
    TextBackbone,
    TimmBackbone,
    rank_features,
)
from sklearn_ncti._ranking.report.fine_tuning import Pretrained  # noqa: E402
from sklearn_ncti._selection.candidates import pretrained_of  # noqa: E402
from sklearn_ncti.backbones import _progress, _text, _tokenize  # noqa: E402
from sklearn_ncti.backbones._text_network import TextNetwork  # noqa: E402

TEXTS, LABELS = make_texts()
SCORER = NCTIScorer(n_components=4)
COLUMNS = ("score", "seli", "ncc", "vc")


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    """Names of four encoders of one tokenizer."""
    folder = tmp_path_factory.mktemp("pool")
    return [write_text_model(folder / f"m{i}", seed=i) for i in range(4)]


def candidates(names, **parameters):
    return [
        (os.path.basename(name), TextBackbone(name, device="cpu", **parameters)) for name in names
    ]


def select(models, **parameters):
    return ModelSelector(models, **{"scorer": SCORER, "refit": False, **parameters})


def assert_same(results, expected):
    assert results["model"].tolist() == expected["model"].tolist()
    assert results["error"].tolist() == expected["error"].tolist()
    for name in COLUMNS:
        np.testing.assert_allclose(results[name], expected[name], **OF_FLOAT32, err_msg=name)


@pytest.fixture(scope="module")
def undisturbed(pool):
    return select(candidates(pool)).fit(TEXTS, LABELS).results_


@pytest.fixture
def tokenized(monkeypatch):
    """The numbers of texts that are tokenized, call by call."""
    seen = []
    real = _tokenize.tokenize

    def counting(texts, *args):
        seen.append(len(texts))
        return real(texts, *args)

    monkeypatch.setattr(_tokenize, "tokenize", counting)
    return seen


@pytest.fixture
def loaded(monkeypatch):
    """The folders of the networks that are loaded, in order."""
    seen = []
    real = _text.load_module

    def counting(folder, trust):
        seen.append(folder.name)
        return real(folder, trust)

    monkeypatch.setattr(_text, "load_module", counting)
    return seen


def test_the_ranking_is_that_of_the_features(pool, undisturbed):
    features = {os.path.basename(name): by_hand(name, TEXTS) for name in pool}
    expected = rank_features(features, LABELS, scorer=SCORER).results
    assert_same(undisturbed, expected)
    for name in ("texts_per_second", "tokens_per_second", "n_parameters", "device_time"):
        assert (undisturbed[name] > 0).all()
    words = undisturbed["tokens_per_second"] / undisturbed["texts_per_second"]
    assert len(set(words.round(6))) == 1
    assert (undisturbed["n_truncated"] == undisturbed["n_truncated"][0]).all()
    assert np.isnan(undisturbed["images_per_second"]).all()


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_one_tokenizer_tokenizes_once(pool, undisturbed, tokenized, n_jobs):
    models = candidates(pool) + [
        (f"{n} max", m.set_params(pooling="max")) for n, m in candidates(pool)
    ]
    results = select(models, n_jobs=n_jobs).fit(TEXTS, LABELS).results_
    assert tokenized == [len(TEXTS)]
    for name in ("seli", "ncc", "vc"):
        np.testing.assert_allclose(results[name][:4], undisturbed[name], **OF_FLOAT32)


def test_other_limits_are_tokenized_apart(pool, tokenized):
    models = [*candidates(pool[:2]), ("short", TextBackbone(pool[0], max_length=5, device="cpu"))]
    results = select(models).fit(TEXTS, LABELS).results_
    assert len(tokenized) == 2
    assert results["n_truncated"][2] > results["n_truncated"][0]


def test_many_at_a_time(pool, undisturbed):
    results = select(candidates(pool), n_jobs=2).fit(TEXTS, LABELS).results_
    assert_same(results, undisturbed)


@pytest.mark.parametrize("working_memory", [1024, 0])
def test_layers_come_from_one_pass(pool, loaded, monkeypatch, working_memory):
    """Unless there is no memory in which the others could wait."""
    from sklearn import config_context

    runs = []
    real = TextNetwork.rows

    def counting(self, batch, layers=(-1,)):
        runs.append(len(batch["attention_mask"]) * (len(TEXTS) <= len(batch["attention_mask"])))
        return real(self, batch, layers)

    monkeypatch.setattr(TextNetwork, "rows", counting)
    model = TextBackbone(pool[0], layer="all", device="cpu")
    with config_context(working_memory=working_memory):
        results = select([("m", model)]).fit(TEXTS, LABELS).results_
    assert results["model"].tolist() == ["m layer 0", "m layer 1", "m layer 2"]
    n_passes = 1 if working_memory else 3
    assert len(loaded) == n_passes
    assert sum(runs) == n_passes * len(TEXTS)
    features = {f"m layer {k}": by_hand(pool[0], TEXTS, layer=k) for k in range(3)}
    assert_same(results, rank_features(features, LABELS, scorer=SCORER).results)


def test_some_layers(pool):
    models = [("m", TextBackbone(pool[0], layer=[-1, 0], device="cpu"))]
    selector = select(models, refit=True).fit(TEXTS, LABELS)
    assert selector.results_["model"].tolist() == ["m layer 2", "m layer 0"]
    assert selector.best_model_.layer == int(selector.best_name_[-1])
    bad = [("m", TextBackbone(pool[0], layer=[5], device="cpu")), *candidates(pool[1:2])]
    with pytest.warns(FitFailedWarning, match="layer must be from 0"):
        select(bad).fit(TEXTS, LABELS)


def test_a_second_run_loads_nothing(pool, undisturbed, loaded, tokenized, tmp_path):
    models = candidates(pool)
    select(models, memory=tmp_path).fit(TEXTS, LABELS)
    assert len(loaded) == 4
    results = select(models, memory=tmp_path).fit(TEXTS, LABELS).results_
    assert len(loaded) == 4
    assert len(tokenized) == 1
    assert_same(results, undisturbed)
    assert np.isnan(results["texts_per_second"]).all()
    np.testing.assert_array_equal(results["n_truncated"], undisturbed["n_truncated"])
    # Another text, and the same ones in another order, are other rows.
    select(models[:1], memory=tmp_path).fit([*TEXTS[:-1], "a hotel"], LABELS)
    order = np.arange(len(TEXTS))[::-1]
    select(models[:1], memory=tmp_path).fit([TEXTS[i] for i in order], LABELS[order])
    assert len(loaded) == 6
    # A copy of a folder has the same content.
    shutil.copytree(pool[0].removeprefix("local-dir:"), tmp_path / "copy")
    select(candidates([f"local-dir:{tmp_path / 'copy'}"]), memory=tmp_path).fit(TEXTS, LABELS)
    assert len(loaded) == 6


def test_next_to_other_transformers(pool):
    svd = TruncatedSVD(8, algorithm="arpack", random_state=0)
    lengths = FunctionTransformer(lambda texts: np.array([[len(t), t.count("a")] for t in texts]))
    models = [
        *candidates(pool[:2]),
        ("tf-idf", make_pipeline(TfidfVectorizer(), svd)),
        ("lengths", lengths),
    ]
    selector = select(models, final_estimator=LogisticRegression(), refit=True)
    selector.fit(TEXTS, LABELS)
    assert not any(selector.results_["error"])
    assert selector.best_name_ == "tf-idf"
    assert selector.score(TEXTS, LABELS) > 0.9
    assert np.isnan(selector.results_["texts_per_second"][2:]).all()


def test_sparse_features_are_refused_with_advice(pool):
    with pytest.warns(FitFailedWarning, match=r"sparse matrix.*TruncatedSVD\(100, algorithm="):
        results = select([*candidates(pool[:2]), TfidfVectorizer()]).fit(TEXTS, LABELS).results_
    assert [bool(error) for error in results["error"]] == [False, False, True]


def test_sentence_transformers_are_recognised(pool, monkeypatch):
    """By their class, which a module of that name has; the package is never imported."""
    assert "sentence_transformers" not in sys.modules

    class SentenceTransformer(torch.nn.Module):
        def encode(self, sentences, convert_to_numpy, show_progress_bar):
            assert isinstance(sentences, list)
            return by_hand(pool[0], sentences)

    module = types.ModuleType("sentence_transformers")
    module.SentenceTransformer = SentenceTransformer
    monkeypatch.setitem(sys.modules, "sentence_transformers", module)
    models = [*candidates(pool[:2]), SentenceTransformer()]
    selector = select(models, refit=True).fit(TEXTS, LABELS)
    results = selector.results_
    assert results["model"].tolist() == ["m0", "m1", "sentencetransformer"]
    np.testing.assert_allclose(results["ncc"][0], results["ncc"][2], **OF_FLOAT32)
    assert selector.transform(TEXTS[:2]).shape == (2, 16)


def test_empty_texts_are_said_once(pool):
    texts = ["", *TEXTS[1:]]
    with pytest.warns(UserWarning, match="texts are empty or blank") as caught:
        select(candidates(pool)).fit(texts, LABELS)
    assert len(caught) == 1


def test_missing_texts_end_the_fit(pool):
    with pytest.raises(ValueError, match=r"X\[1\] is None, a missing text"):
        select(candidates(pool)).fit([TEXTS[0], None, *TEXTS[2:]], LABELS)


def test_images_and_texts_in_one_list(pool):
    pytest.importorskip("timm")
    models = [*candidates(pool[:2]), TimmBackbone("test_resnet", pretrained=False, device="cpu")]
    with pytest.warns(FitFailedWarning, match="texts go to a TextBackbone"):
        results = select(models).fit(TEXTS, LABELS).results_
    assert [bool(error) for error in results["error"]] == [False, False, True]
    images = np.random.default_rng(0).integers(0, 255, (60, 8, 8, 3), dtype=np.uint8)
    other = TimmBackbone("test_vit", pretrained=False, device="cpu")
    models = [models[0], models[2], other]
    with pytest.warns(FitFailedWarning, match="looks like images. Images go to a TimmBackbone"):
        results = select(models).fit(images, LABELS).results_
    assert [bool(error) for error in results["error"]] == [True, False, False]


def spoiled(source, folder, **config):
    shutil.copytree(source.removeprefix("local-dir:"), folder)
    edit_json(folder / "config.json", **config)
    return folder


@pytest.mark.filterwarnings("ignore:.*are empty or blank:UserWarning")
def test_faults_together_in_one_run(pool, undisturbed, tmp_path):
    """Each bad candidate is a row, and the others are what they are without it."""
    from safetensors.torch import load_file, save_file

    garbage = spoiled(pool[0], tmp_path / "garbage")
    (garbage / "model.safetensors").write_bytes(b"no weights")
    nan = spoiled(pool[0], tmp_path / "nan")
    weights = load_file(nan / "model.safetensors")
    weights["embeddings.word_embeddings.weight"].fill_(torch.nan)
    save_file(weights, nan / "model.safetensors", {"format": "pt"})
    cut = spoiled(pool[0], tmp_path / "cut")
    (cut / "tokenizer.json").write_text("{")
    wider = spoiled(pool[0], tmp_path / "wider", num_hidden_layers=5)
    unknown = spoiled(pool[0], tmp_path / "unknown", model_type="none such")
    folders = [garbage, nan, cut, wider, unknown]
    bad = candidates([f"local-dir:{folder}" for folder in folders])
    models = [*bad[:3], *candidates(pool), *bad[3:], ("no svd", TfidfVectorizer())]
    with pytest.warns(FitFailedWarning, match=r"6 of 10 candidates failed"):
        results = select(models, memory=tmp_path / "cache").fit(TEXTS, LABELS).results_
    good = results["error"] == ""
    assert results["model"][good].tolist() == undisturbed["model"].tolist()
    for name in ("seli", "ncc", "vc"):
        np.testing.assert_allclose(results[name][good], undisturbed[name], **OF_FLOAT32)


def test_resampling_and_report_columns(pool):
    selector = select(candidates(pool), n_resamples=50, random_state=0).fit(TEXTS, LABELS)
    results = selector.results_
    assert (results["score_low"] <= results["score_high"]).all()
    assert selector.ranking_.pareto("texts_per_second")


def test_successive_halving_extracts_each_text_once(pool, tokenized):
    texts, labels = make_texts(150)
    models = candidates(pool)
    # 200 resamples exclude none at this confidence, so that the best two go on in any case.
    halving = HalvingModelSelector(
        models,
        confidence=0.999,
        elimination="factor",
        min_samples=50,
        scorer=SCORER,
        refit=False,
    )
    results = halving.fit(texts, labels).results_
    assert sum(tokenized) == halving.n_resources_[-1] == len(texts)
    whole = select(models).fit(texts, labels).results_
    last = results["iteration"] == halving.n_iterations_
    assert last.sum() == 2
    for name in ("seli", "ncc", "vc", "n_truncated"):
        np.testing.assert_allclose(results[name][last], whole[name][last], **OF_FLOAT32)


def test_report_shows_escaped_examples(pool, tmp_path):
    texts = [f"<b>{text}</b> {'x' * 300}" for text in TEXTS]
    selector = select(candidates(pool)).fit(texts, LABELS)
    pytest.importorskip("matplotlib")
    selector.report(tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "60 texts of 3 classes" in page
    assert page.count("&lt;b&gt;") == 3 * 4
    assert "<b>" + TEXTS[0] not in page
    assert "x" * 250 not in page
    folder = dict(zip(["m0", "m1", "m2", "m3"], pool, strict=True))[selector.best_name_]
    assert f"name = {folder.removeprefix('local-dir:')!r}" in html.unescape(page)


def test_report_names_the_repository_of_the_hub():
    model = TextBackbone("hf-hub:owner/name", revision="v1", trust_remote_code=True)
    assert pretrained_of(model) == Pretrained("owner/name", "transformers", "v1", True)
    assert pretrained_of(TextBackbone("owner/name")) == Pretrained("owner/name", "transformers")
    assert pretrained_of(TfidfVectorizer()) is None


def test_prior_from_the_weights(tmp_path):
    """It does not depend on the texts, and comes from the cache without a network."""
    names = [write_text_model(tmp_path / f"m{i}", seed=i, width=64) for i in range(2)]
    first, second = (
        select(candidates(names), prior="weights", memory=tmp_path / "cache")
        .fit(texts, LABELS)
        .results_["prior"]
        for texts in (TEXTS, TEXTS[::-1])
    )
    assert first[0] != first[1]
    np.testing.assert_array_equal(first, second)


def test_a_plan_says_what_is_unknown(pool, loaded):
    """And downloads nothing, not even to count the layers of a model."""
    models = [
        *candidates(pool[:2]),
        ("layers", TextBackbone(pool[2], layer="all")),
        ("hub", TextBackbone("no-such-owner/model", layer="all")),
        ("tf-idf", TfidfVectorizer()),
    ]
    plan = ModelSelector(models).plan(TEXTS)
    names = ["m0", "m1", *(f"layers layer {k}" for k in range(3)), "hub", "tf-idf"]
    assert [c.name for c in plan.candidates] == names
    assert [c.name for c in plan.candidates if c.downloads] == ["hub"]
    assert all(np.isnan(seconds) for seconds in plan.candidate_seconds.values())
    lines = str(plan).splitlines()
    assert lines[0] == "candidates   7 on 60 rows"
    assert "for 0 of them" in lines[1]
    assert lines[1].endswith("; 1 more of unknown size")
    assert lines[2] == "time         unknown: no candidate can be predicted"
    assert len(lines) == 3
    assert not loaded
    with pytest.raises(TypeError, match=r"X\[0\] is of type int"):
        ModelSelector(candidates(pool)).plan([1, 2])


def test_a_plan_of_images_and_texts_in_one_list(pool, monkeypatch):
    pytest.importorskip("timm")
    from sklearn_ncti._selection import plan as planning

    monkeypatch.setattr(planning, "measure_speed", lambda *args: planning.Speed(0.01))
    models = ["resnet18.a1_in1k", *candidates(pool[:1])]
    texts = ModelSelector(models).plan(TEXTS)
    assert all(np.isnan(seconds) for seconds in texts.candidate_seconds.values())
    images = ModelSelector(models).plan(np.zeros((2, 8, 8, 3), dtype=np.uint8))
    assert np.isfinite(list(images.candidate_seconds.values())).tolist() == [True, False]
    assert "1 cannot be predicted" in str(images)


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_progress_counts_texts(pool, capfd, monkeypatch, n_jobs):
    monkeypatch.setattr(_progress, "_SECONDS", 0)
    models = candidates(pool[:2], verbose=1, batch_size=20)
    select(models, verbose=1, n_jobs=n_jobs).fit(TEXTS, LABELS)
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 3
    assert re.match(r"\[ModelSelector\] 1 of 2 candidates, .*, \d+\.\d texts/s$", lines[0])
    assert re.match(r"\[ModelSelector\] 2 of 2 candidates in .*, \d+\.\d texts/s$", lines[1])
