"""TextBackbone against plain transformers."""

import json
import pickle
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers import FLOAT32_ROUNDING
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.utils import estimator_checks

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
from text_pool import by_hand, edit_json, make_texts, write_text_model  # noqa: E402

from sklearn_ncti import TextBackbone  # noqa: E402
from sklearn_ncti.backbones import _network, _tokenize  # noqa: E402

TEXTS, LABELS = make_texts()

# Most decoders have no padding token, which is said each time.
unpadded = pytest.mark.filterwarnings("ignore:.* has no padding token:UserWarning")


def backbone(name, **parameters):
    return TextBackbone(name, **{"device": "cpu", "batch_size": 7, **parameters})


@pytest.fixture
def copy(text_models, tmp_path):
    """The folder of a BERT, to be spoiled."""
    folder = tmp_path / "model"
    shutil.copytree(text_models["bert"].removeprefix("local-dir:"), folder)
    return folder


@unpadded
@pytest.mark.parametrize("pooling", ["mean", "cls", "max", "last"])
@pytest.mark.parametrize("kind", ["bert", "gpt2", "t5"])
def test_features_are_those_of_plain_transformers(text_models, kind, pooling):
    name = text_models[kind]
    features = backbone(name, pooling=pooling).fit_transform(TEXTS)
    assert features.dtype == np.float32
    np.testing.assert_allclose(features, by_hand(name, TEXTS, pooling), **FLOAT32_ROUNDING)


@unpadded
@pytest.mark.parametrize("kind", ["bert", "gpt2", "t5"])
@pytest.mark.parametrize("layer", [0, 1, 2, -1, -2, -3])
def test_each_layer(text_models, kind, layer):
    name = text_models[kind]
    features = backbone(name, layer=layer).fit_transform(TEXTS[:9])
    expected = by_hand(name, TEXTS[:9], layer=layer)
    np.testing.assert_allclose(features, expected, **FLOAT32_ROUNDING)


def test_padding_side_changes_nothing(text_models, tmp_path):
    """The last token of a decoder is the last one of the text, wherever others would pad."""
    expected = by_hand(text_models["gpt2"], TEXTS, "last")
    for side in ("left", "right"):
        folder = tmp_path / side
        shutil.copytree(text_models["gpt2"].removeprefix("local-dir:"), folder)
        padded = {"padding_side": side, "pad_token": "<|endoftext|>"}
        edit_json(folder / "tokenizer_config.json", **padded)
        features = backbone(f"local-dir:{folder}", pooling="last").fit_transform(TEXTS)
        np.testing.assert_allclose(features, expected, **FLOAT32_ROUNDING)


def test_missing_padding_token_is_said(text_models):
    with pytest.warns(UserWarning, match=r"no padding token: '<\|endoftext\|>' is used"):
        backbone(text_models["gpt2"]).fit_transform(TEXTS)


@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_rows_keep_their_order(text_models, batch_size):
    model = backbone(text_models["bert"], batch_size=batch_size).fit(TEXTS)
    order = np.random.default_rng(0).permutation(len(TEXTS))
    shuffled = model.transform([TEXTS[i] for i in order])
    np.testing.assert_allclose(shuffled, model.transform(TEXTS)[order], **FLOAT32_ROUNDING)


def test_batches_hold_texts_of_similar_length(text_models, monkeypatch):
    seen = []
    real = _tokenize.Tokens.batch

    def noting(self, rows):
        batch = real(self, rows)
        seen.append(batch["attention_mask"])
        return batch

    monkeypatch.setattr(_tokenize.Tokens, "batch", noting)
    backbone(text_models["bert"]).fit_transform(TEXTS)
    longest = [mask.shape[1] for mask in seen]
    assert longest == sorted(longest, reverse=True)
    assert longest[-1] < longest[0]
    padding = sum((mask == 0).sum() for mask in seen)
    assert padding < 0.2 * sum(mask.size for mask in seen)


@pytest.mark.parametrize("column", ["tuple", "numpy", "objects", "pandas", "polars", "pyarrow"])
def test_columns_of_strings(text_models, column):
    make = {
        "tuple": tuple,
        "numpy": np.array,
        "objects": lambda texts: np.array(texts, dtype=object),
        "pandas": lambda texts: pytest.importorskip("pandas").Series(texts, index=range(5, 11)),
        "polars": lambda texts: pytest.importorskip("polars").Series(texts),
        "pyarrow": lambda texts: pytest.importorskip("pyarrow").array(texts),
    }[column]
    model = backbone(text_models["bert"]).fit(TEXTS)
    features = model.transform(make(TEXTS[:6]))
    np.testing.assert_allclose(features, model.transform(TEXTS[:6]), **FLOAT32_ROUNDING)


def test_texts_that_are_too_long(text_models):
    long = [" ".join(["a"] * n) for n in (30, 31, 60)]
    model = backbone(text_models["bert"])
    features = model.fit_transform([*long, "a"])
    # 30 words and the two special tokens are as many as it takes.
    assert model.n_truncated_ == 2
    np.testing.assert_allclose(features[0], features[1], **FLOAT32_ROUNDING)
    np.testing.assert_allclose(features[:3], by_hand(text_models["bert"], long), rtol=1e-5)
    short = backbone(text_models["bert"], max_length=4).fit(TEXTS)
    expected = by_hand(text_models["bert"], TEXTS, max_length=4)
    np.testing.assert_allclose(short.transform(TEXTS), expected, **FLOAT32_ROUNDING)
    with pytest.raises(ValueError, match="max_length=33 is more than the 32 tokens"):
        backbone(text_models["bert"], max_length=33).fit_transform(TEXTS)


@unpadded
@pytest.mark.parametrize("kind", ["bert", "gpt2", "t5"])
def test_empty_texts_are_counted(text_models, kind):
    model = backbone(text_models[kind]).fit(TEXTS)
    with pytest.warns(UserWarning, match=r"2 of 3 texts are empty or blank, the first at X\[1\]"):
        features = model.transform(["a hotel", "", "  "])
    assert np.isfinite(features).all()
    if kind == "gpt2":
        # It has no token for nothing: the one that begins a text is taken.
        expected = by_hand(text_models[kind], ["<|endoftext|>"])
        np.testing.assert_allclose(features[1:2], expected, **FLOAT32_ROUNDING)


def test_memory_that_runs_out_halves_the_batch(text_models, monkeypatch):
    expected = backbone(text_models["bert"], batch_size=16).fit_transform(TEXTS)
    from sklearn_ncti.backbones._text_network import TextNetwork

    real = TextNetwork._run
    sizes = []

    def greedy(self, tensors, mask, layers):
        sizes.append(len(mask))
        if len(mask) > 5:
            raise torch.OutOfMemoryError("out of memory")
        return real(self, tensors, mask, layers)

    monkeypatch.setattr(TextNetwork, "_run", greedy)
    model = backbone(text_models["bert"], batch_size=16)
    with pytest.warns(
        UserWarning, match="too little memory for 16 texts at once; .* batch_size=4"
    ):
        features = model.fit_transform(TEXTS)
    np.testing.assert_allclose(features, expected, **FLOAT32_ROUNDING)
    # Later batches do not try again what was too much.
    assert sum(size > 5 for size in sizes) == 2
    monkeypatch.setattr(_network, "is_out_of_memory", lambda exc: True)
    monkeypatch.setattr("sklearn_ncti.backbones._text_network.is_out_of_memory", lambda exc: True)
    monkeypatch.setattr(TextNetwork, "_run", lambda *args: 1 / 0)
    with pytest.raises(MemoryError, match="one text of 1 tokens is too much"):
        backbone(text_models["bert"]).fit(TEXTS)


def test_bfloat16_is_close(text_models):
    exact = backbone(text_models["bert"]).fit_transform(TEXTS)
    rough = backbone(text_models["bert"], precision="bfloat16").fit_transform(TEXTS)
    assert rough.dtype == np.float32
    assert 0 < np.abs(rough - exact).max() < 0.1


def test_autocast_of_the_caller_changes_nothing(text_models):
    exact = backbone(text_models["bert"]).fit(TEXTS)
    rough = backbone(text_models["bert"], precision="bfloat16").fit(TEXTS)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = exact.transform(TEXTS)
    np.testing.assert_allclose(inside, exact.transform(TEXTS), **FLOAT32_ROUNDING)
    # The precision matters to this network.
    assert np.abs(rough.transform(TEXTS) - inside).max() > 1e-4


def test_it_is_a_transformer(text_models):
    model = backbone(text_models["bert"])
    with pytest.raises(NotFittedError):
        model.transform(TEXTS)
    pipeline = make_pipeline(model, LogisticRegression()).fit(TEXTS, LABELS)
    fitted = pipeline[0]
    probe = LogisticRegression().fit(fitted.transform(TEXTS), LABELS)
    assert pipeline.score(TEXTS, LABELS) == probe.score(fitted.transform(TEXTS), LABELS) > 0.4
    names = fitted.get_feature_names_out()
    assert names[0] == "textbackbone0"
    assert len(names) == fitted.n_features_out_ == 16
    again = pickle.loads(pickle.dumps(fitted))
    assert again._network is None
    np.testing.assert_allclose(again.transform(TEXTS), fitted.transform(TEXTS), **FLOAT32_ROUNDING)
    assert clone(fitted).get_params() == model.get_params()


@pytest.mark.parametrize(
    "name",
    [
        "check_estimator_cloneable",
        "check_estimator_tags_renamed",
        "check_valid_tag_types",
        "check_estimator_repr",
        "check_no_attributes_set_in_init",
        "check_parameters_default_constructible",
        "check_get_params_invariance",
        "check_set_params",
    ],
)
def test_scikit_learns_checks(text_models, name):
    """Those that need no feature matrix, which every other check fits."""
    estimator_checks_of = getattr(estimator_checks, name)
    estimator_checks_of("TextBackbone", backbone(text_models["bert"]))


def test_pandas_output(text_models):
    pytest.importorskip("pandas")
    model = backbone(text_models["bert"]).set_output(transform="pandas")
    frame = model.fit_transform(TEXTS)
    assert frame.columns[-1] == "textbackbone15"


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"pooling": "median"}, "'pooling' parameter"),
        ({"layer": 3}, r"layer must be from 0 \(embeddings\) to 2"),
        ({"layer": -4}, "to -3, for a model of 2 layers; got -4"),
        ({"layer": [0, 1]}, "are candidates of a ModelSelector"),
        ({"layer": "all"}, "are candidates of a ModelSelector"),
        ({"max_length": 0}, "'max_length' parameter"),
        ({"batch_size": 0}, "'batch_size' parameter"),
        ({"output": "logits"}, "'output' parameter"),
        ({"revision": "main"}, "revision='main' is that of a repository of the hub"),
        ({"device": "tpu?"}, "device='tpu\\?' cannot be used here"),
    ],
)
def test_bad_parameters(text_models, parameters, message):
    with pytest.raises(ValueError, match=message):
        backbone(text_models["bert"], **parameters).fit(TEXTS)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("local-dir:/no/such/folder", "there is no folder '/no/such/folder'"),
        ("resnet18", "neither 'local-dir:folder' nor 'owner/name'"),
        ("a/b/c", "neither 'local-dir:folder' nor 'owner/name'"),
    ],
)
def test_bad_names(model, message):
    with pytest.raises(ValueError, match=message):
        backbone(model).fit(TEXTS)


def test_folders_that_lack_something(copy):
    tokenizer = copy / "tokenizer.json"
    tokenizer.rename(copy / "elsewhere")
    with pytest.raises(ValueError, match="holds no tokenizer, such as"):
        backbone(f"local-dir:{copy}").fit(TEXTS)
    (copy / "elsewhere").rename(tokenizer)
    (copy / "model.safetensors").rename(copy / "elsewhere")
    with pytest.raises(ValueError, match="holds no weights"):
        backbone(f"local-dir:{copy}").fit(TEXTS)
    edit_json(copy / "config.json", model_type=None)
    with pytest.raises(ValueError, match="Models of timm go to a TimmBackbone"):
        backbone(f"local-dir:{copy}").fit(TEXTS)
    (copy / "config.json").write_text("[")
    with pytest.raises(ValueError, match="is no JSON file"):
        backbone(f"local-dir:{copy}").fit(TEXTS)
    (copy / "config.json").unlink()
    with pytest.raises(ValueError, match=r"holds no config\.json"):
        backbone(f"local-dir:{copy}").fit(TEXTS)


def test_weights_that_are_not_all(copy):
    """A network that is in part random is refused, and one without a pooler is not."""
    from safetensors.torch import load_file, save_file

    weights = load_file(copy / "model.safetensors")
    expected = backbone(f"local-dir:{copy}").fit_transform(TEXTS)
    kept = {name: of for name, of in weights.items() if "pooler" not in name}
    assert len(kept) < len(weights)
    save_file(kept, copy / "model.safetensors", {"format": "pt"})
    features = backbone(f"local-dir:{copy}").fit_transform(TEXTS)
    np.testing.assert_allclose(features, expected, **FLOAT32_ROUNDING)
    name = "encoder.layer.1.output.dense.weight"
    del kept[name]
    save_file(kept, copy / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match=f"nothing for 1 of the network's own.*{name}"):
        backbone(f"local-dir:{copy}").fit(TEXTS)


def test_weights_are_no_program(copy):
    class Malicious:
        def __reduce__(self):
            return Path.write_text, (copy / "executed", "")

    (copy / "model.safetensors").unlink()
    torch.save({"x": Malicious()}, copy / "pytorch_model.bin")
    with pytest.raises(Exception, match=r"(?i)weights.only|safetensors"):
        backbone(f"local-dir:{copy}").fit(TEXTS)
    assert not (copy / "executed").exists()


def test_code_of_a_model_is_refused(copy):
    (copy / "modeling_own.py").write_text(f"open({str(copy / 'executed')!r}, 'w')")
    edit_json(
        copy / "config.json", model_type="own", auto_map={"AutoConfig": "modeling_own.Config"}
    )
    with pytest.raises(ValueError, match="runs code of its own, which is refused"):
        backbone(f"local-dir:{copy}").fit(TEXTS)
    assert not (copy / "executed").exists()


def test_code_of_a_model_that_is_trusted_runs(copy, text_models, monkeypatch, tmp_path):
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "c"))
    (copy / "modeling_own.py").write_text(
        "from transformers import BertConfig, BertModel\n"
        "class Config(BertConfig):\n    model_type = 'own'\n"
        "class Model(BertModel):\n    config_class = Config\n"
    )
    edit_json(
        copy / "config.json",
        model_type="own",
        auto_map={"AutoConfig": "modeling_own.Config", "AutoModel": "modeling_own.Model"},
    )
    features = backbone(f"local-dir:{copy}", trust_remote_code=True).fit_transform(TEXTS)
    expected = by_hand(text_models["bert"], TEXTS)
    np.testing.assert_allclose(features, expected, **FLOAT32_ROUNDING)


def test_tokenizer_of_another_model(copy):
    """Without a check, this ends every later computation on a CUDA device."""
    tokenizer = json.loads((copy / "tokenizer.json").read_text())
    vocabulary = tokenizer["model"]["vocab"]
    vocabulary["egg"] = 5000
    (copy / "tokenizer.json").write_text(json.dumps(tokenizer))
    with pytest.raises(ValueError, match="gives the token 5000, and the network embeds only 0"):
        backbone(f"local-dir:{copy}").fit_transform(["an egg"])


def test_padding_token_without_an_embedding(copy):
    """Padding goes through the network as other tokens do, and is checked as they are."""
    tokenizer = json.loads((copy / "tokenizer.json").read_text())
    tokenizer["model"]["vocab"]["[PAD]"] = 5000
    for token in tokenizer["added_tokens"]:
        if token["content"] == "[PAD]":
            token["id"] = 5000
    (copy / "tokenizer.json").write_text(json.dumps(tokenizer))
    with pytest.raises(ValueError, match="gives the token 5000, and the network embeds only 0"):
        backbone(f"local-dir:{copy}").fit_transform(["an egg", "a flight to rome and back"])


def test_what_the_cache_is_keyed_by(text_models, copy, tmp_path):
    """The content of the files, not their place; and whatever changes the features."""
    name = f"local-dir:{copy}"
    first = backbone(name).identity()
    assert first == backbone(text_models["bert"], batch_size=3, verbose=0).identity()
    assert first == json.loads(json.dumps(first))
    other = write_text_model(tmp_path / "other", seed=1)
    changed = [
        backbone(other),
        backbone(name, pooling="max"),
        backbone(name, layer=1),
        backbone(name, max_length=8),
        backbone(name, precision="bfloat16"),
    ]
    known = [json.dumps(model.identity()) for model in changed]
    assert len({json.dumps(first), *known}) == 6
    # The same layer under another number.
    assert backbone(name, layer=2).identity() == first
    edit_json(copy / "tokenizer_config.json", model_max_length=20)
    assert backbone(name).identity() != first


def test_progress_counts_texts(text_models, capsys, monkeypatch):
    monkeypatch.setattr("sklearn_ncti.backbones._progress._SECONDS", 0)
    backbone(text_models["bert"], verbose=1).fit_transform(TEXTS)
    assert re.search(r"bert: \d+ of 60 texts, [\d.]+ texts/s", capsys.readouterr().err)


def test_loading_shows_and_logs_nothing(text_models, capfd):
    backbone(text_models["bert"]).fit_transform(TEXTS)
    assert capfd.readouterr() == ("", "")


def test_timm_is_not_needed(text_models):
    """Nor what else only images need."""
    code = (
        "import sys\n"
        "for name in ('timm', 'torchvision', 'PIL'):\n"
        "    sys.modules[name] = None\n"
        "from sklearn_ncti import ModelSelector, NCTIScorer, TextBackbone\n"
        "texts = ['a flight', 'my balance', 'boil an egg'] * 10\n"
        "models = [TextBackbone(sys.argv[1], device='cpu', layer='all')]\n"
        "selector = ModelSelector(models, scorer=NCTIScorer(n_components=3))\n"
        "print(selector.fit(texts, [0, 1, 2] * 10).transform(texts).shape)\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, text_models["bert"]],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split("\n")[0] == "(30, 16)"


def test_missing_package_names_the_extra(text_models, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ImportError, match=r"pip install 'sklearn-ncti\[text\]'"):
        backbone(text_models["bert"]).fit(TEXTS)
