"""Features on disk: whole or not at all, under a key of what made them and of nothing else."""

import json
import os
import pickle
import stat
import time
import warnings

import numpy as np
import pytest

torch = pytest.importorskip("torch")
timm = pytest.importorskip("timm")
from PIL import Image  # noqa: E402

from sklearn_ncti.backbones import TimmBackbone  # noqa: E402
from sklearn_ncti.backbones._store import FeatureStore  # noqa: E402

FEATURES = np.random.default_rng(0).normal(size=(20, 5)).astype(np.float32)
IDENTITY = {"weights": "mine", "images": "yours"}


@pytest.fixture
def store(tmp_path):
    return FeatureStore(tmp_path / "not there yet" / "features")


def test_what_is_kept_comes_back(store):
    assert store.load(IDENTITY) is None
    store.save(IDENTITY, FEATURES, {"bad": {3: "why"}})
    features, facts = store.load(IDENTITY)
    np.testing.assert_array_equal(features, FEATURES)
    assert facts["bad"] == {"3": "why"}
    assert store.load({**IDENTITY, "weights": "other"}) is None
    # The order in which an identity is written down says nothing.
    assert store.load(dict(reversed(IDENTITY.items()))) is not None


def damages(path):
    content = path.read_bytes()
    place = content.index(FEATURES.tobytes()) + 100
    yield "empty", b""
    yield "truncated", content[:place]
    yield "a flipped bit", content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]
    yield "no archive", b"nothing of the kind" * 50


def test_damage_is_noticed(store, subtests):
    store.save(IDENTITY, FEATURES, {})
    path = store.path(IDENTITY)
    for name, content in damages(path):
        with subtests.test(name):
            path.write_bytes(content)
            with pytest.warns(UserWarning, match="are damaged .* and are extracted again"):
                assert store.load(IDENTITY) is None
            store.save(IDENTITY, FEATURES, {})
            assert store.load(IDENTITY) is not None


def test_another_shape_than_was_kept_is_damage(store):
    store.save(IDENTITY, FEATURES, {})
    np.savez(store.path(IDENTITY), features=FEATURES[:3], facts=json.dumps({"shape": [20, 5]}))
    with pytest.warns(UserWarning, match=r"of shape \(3, 5\)"):
        assert store.load(IDENTITY) is None


def test_nothing_is_unpickled(store, tmp_path):
    trap = tmp_path / "sprung"

    class Trap:
        def __reduce__(self):
            return open, (str(trap), "w")

    store.save(IDENTITY, FEATURES, {})
    path = store.path(IDENTITY)
    with open(path, "wb") as file:
        np.savez(file, features=np.array([Trap()], dtype=object), facts=np.array("{}"))
    with pytest.warns(UserWarning, match="are damaged"):
        assert store.load(IDENTITY) is None
    path.write_bytes(pickle.dumps(Trap()))
    with pytest.warns(UserWarning, match="are damaged"):
        assert store.load(IDENTITY) is None
    assert not trap.exists()


def write_plain_pickle(weights, path):
    with open(path, "wb") as file:
        pickle.dump(weights, file)


@pytest.mark.parametrize("file", ["pytorch_model.bin", "model.pth", "model.pth.tar"])
@pytest.mark.parametrize("save", [torch.save, write_plain_pickle])
def test_weights_are_not_unpickled_either(tmp_path, file, save):
    trap = tmp_path / "sprung"

    class Trap:
        def __reduce__(self):
            return open, (str(trap), "w")

    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"architecture": "test_resnet"}))
    save({"weight": Trap()}, folder / file)
    with pytest.raises(RuntimeError, match="could not load the weights"):
        TimmBackbone(f"local-dir:{folder}").fit([Image.new("RGB", (8, 8))])
    assert not trap.exists()


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_what_is_not_finished_is_no_entry(store, monkeypatch, step):
    def interrupted(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, step, interrupted)
        with pytest.raises(KeyboardInterrupt):
            store.save(IDENTITY, FEATURES, {})
    assert store.load(IDENTITY) is None
    assert list(store.folder.iterdir()) == []


# --- what others leave in the folder


def test_mode_of_an_entry_follows_the_umask(store):
    before = os.umask(0o027)
    try:
        store.save(IDENTITY, FEATURES, {})
    finally:
        os.umask(before)
    assert stat.S_IMODE(store.path(IDENTITY).stat().st_mode) == 0o640


def test_what_cannot_be_removed_stops_no_keeping(tmp_path, monkeypatch):
    folder, file = tmp_path / "unfinished-folder", tmp_path / "unfinished-file"
    folder.mkdir()
    file.touch()
    for path in (folder, file):
        os.utime(path, (1, 1))

    def of_another_user(path):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(type(file), "unlink", of_another_user)
    store = FeatureStore(tmp_path)
    store.save(IDENTITY, FEATURES, {})
    assert store.load(IDENTITY) is not None


def test_a_folder_without_access_is_warned_of_once(store, monkeypatch):
    store.save(IDENTITY, FEATURES, {})

    def closed(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(type(store.folder), "open", closed)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(3):
            assert store.load(IDENTITY) is None
            store.save(IDENTITY, FEATURES, {})
    messages = [str(warning.message) for warning in caught]
    assert len(messages) == 2
    assert "cannot be read" in messages[0]
    assert "cannot be kept" in messages[1]


def test_a_file_where_the_folder_should_be(tmp_path):
    (tmp_path / "features").touch()
    store = FeatureStore(tmp_path / "features")
    assert not store.holds(IDENTITY)
    assert store.load(IDENTITY) is None
    with pytest.warns(UserWarning, match="cannot be kept"):
        store.save(IDENTITY, FEATURES, {})


def test_an_entry_of_another_key_is_no_entry(store):
    store.save({"another": 1}, FEATURES, {})
    store.path({"another": 1}).rename(store.path(IDENTITY))
    with pytest.warns(UserWarning, match="written under another name.* extracted again"):
        assert store.load(IDENTITY) is None


def test_what_a_killed_process_left_is_removed(tmp_path):
    old, new = tmp_path / "unfinished-old", tmp_path / "unfinished-new"
    for path in (old, new):
        path.write_bytes(b"half")
    long_ago = time.time() - 7200
    os.utime(old, (long_ago, long_ago))
    FeatureStore(tmp_path).save({"a": 1}, np.ones((2, 3), np.float32), {})
    # The new one may be that of a process at work.
    assert not old.exists()
    assert new.exists()
