"""Tokens of texts, against the tokenizer itself."""

import pickle

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
from text_pool import make_texts, make_tokenizer  # noqa: E402

from sklearn_ncti.backbones._backbone import Extraction  # noqa: E402
from sklearn_ncti.backbones._texts import check_texts  # noqa: E402
from sklearn_ncti.backbones._tokenize import (  # noqa: E402
    PreparedTexts,
    SharedLayers,
    Tokenization,
    tokenize,
)

TEXTS = check_texts(make_texts()[0])


@pytest.mark.parametrize("kind", ["bert", "t5"])
@pytest.mark.parametrize("limit", [None, 9])
def test_tokens_are_those_of_the_tokenizer(kind, limit, monkeypatch):
    monkeypatch.setattr("sklearn_ncti.backbones._tokenize._CHUNK", 7)
    tokenizer = make_tokenizer(kind)
    tokens = tokenize(TEXTS, tokenizer, limit)
    rows = np.array([5, 2, 31, 7])
    expected = tokenizer(
        [TEXTS[i] for i in rows],
        padding=True,
        truncation=limit is not None,
        max_length=limit,
        return_tensors="np",
    )
    batch = tokens.batch(rows)
    assert set(batch) == set(expected)
    for name, column in batch.items():
        np.testing.assert_array_equal(column, expected[name], err_msg=name)
    whole = [len(ids) for ids in tokenizer(list(TEXTS), truncation=False)["input_ids"]]
    assert tokens.n_truncated == sum(n > (limit or np.inf) for n in whole)
    np.testing.assert_array_equal(tokens.lengths, np.minimum(whole, limit or np.inf))


def test_texts_without_a_token_get_one():
    tokens = tokenize(check_texts(["", "a", ""]), make_tokenizer("gpt2"), 8)
    assert tokens.lengths.tolist() == [1, 1, 1]
    assert tokens.columns["input_ids"][[0, 2]].tolist() == [0, 0]


def test_errors_reach_all_who_share():
    calls = []

    def broken():
        calls.append(1)
        raise RuntimeError("no tokenizer")

    prepared = PreparedTexts(TEXTS, broken, Tokenization("x", 8))
    for _ in range(2):
        with pytest.raises(RuntimeError, match="no tokenizer"):
            prepared.tokens()
    assert len(calls) == 1


def test_prepared_texts_go_to_other_processes():
    prepared = PreparedTexts(TEXTS, lambda: make_tokenizer("bert"), Tokenization("x", 8))
    again = pickle.loads(pickle.dumps(prepared))
    assert len(again) == len(TEXTS)
    assert again.geometry == prepared.geometry
    assert prepared.nbytes == again.nbytes > 0
    for name, column in prepared.tokens().columns.items():
        np.testing.assert_array_equal(again.tokens().columns[name], column)


def test_lower_case():
    upper = check_texts([text.upper() for text in TEXTS])
    found = [
        PreparedTexts(texts, lambda: make_tokenizer("bert"), Tokenization("x", 32, True)).tokens()
        for texts in (upper, TEXTS)
    ]
    ids = [tokens.columns["input_ids"] for tokens in found]
    np.testing.assert_array_equal(*ids)


@pytest.mark.parametrize(("budget", "passes"), [(0, 4), (1, 4), (100, 2), (200, 2), (300, 1)])
def test_layers_wait_within_a_budget(budget, passes):
    """Each is taken once, and no more wait than there is memory for."""
    shared = SharedLayers({"net": [0, 1, 2, -1]}, budget)
    made = []

    def compute(layers):
        made.append(len(layers))
        return {k: Extraction({"features": k}, {}, 0, 0, {}, "") for k in layers}

    assert shared.holds("net")
    assert not shared.holds("other")
    taken = [shared.take("net", k, 100, compute).arrays["features"] for k in (2, 0, 1, -1)]
    assert taken == [2, 0, 1, -1]
    assert len(made) == passes
    assert sum(made) == 4
    assert max(made) <= 1 + budget // 100
