"""Which models of texts are on this machine."""

import sys

import pytest

from sklearn_ncti.backbones._text_folder import is_at_hand

COMMIT = "0123456789" * 4
FILES = ("config.json", "tokenizer.json", "model.safetensors")


@pytest.fixture
def snapshot(tmp_path, monkeypatch):
    """The folder of owner/model in an empty cache of the hub."""
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    folder = tmp_path / "models--owner--model"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text(COMMIT)
    snapshot = folder / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    return snapshot


def test_a_model_is_at_hand_when_all_its_files_are(snapshot):
    for name in FILES:
        assert not is_at_hand("owner/model", None)
        (snapshot / name).write_text("{}")
    assert is_at_hand("owner/model", None)
    assert is_at_hand("hf-hub:owner/model", None)
    assert is_at_hand("owner/model", COMMIT)
    assert not is_at_hand("owner/model", "other")
    assert not is_at_hand("owner/another", None)


def test_parts_of_weights_are_all_needed(snapshot):
    for name in FILES[:2]:
        (snapshot / name).write_text("{}")
    index = '{"weight_map": {"a": "1.safetensors", "b": "2.safetensors"}}'
    (snapshot / "model.safetensors.index.json").write_text(index)
    for part in ("1", "2"):
        assert not is_at_hand("owner/model", None)
        (snapshot / f"{part}.safetensors").write_text("")
    assert is_at_hand("owner/model", None)


def test_a_local_folder_is_never_downloaded():
    assert is_at_hand("local-dir:nowhere", None)


def test_without_the_package_of_the_hub_nothing_is(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert not is_at_hand("owner/model", None)
