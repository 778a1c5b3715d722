"""Downloads of text encoders: small files for the tokenization, weights ahead of the device."""

import shutil
import threading
from collections import defaultdict

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
constants = pytest.importorskip("huggingface_hub.constants")
from text_pool import make_texts, write_text_model  # noqa: E402

from sklearn_ncti import ModelSelector, NCTIScorer, TextBackbone  # noqa: E402
from sklearn_ncti.backbones import _hub, _text_folder  # noqa: E402

COMMIT = "0123456789" * 4
NAMES = ["own/a", "own/b", "own/c"]

# Seconds until a test fails that waits for something which does not come.
AT_MOST = 60


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """Three encoders on a hub without a network; what is asked of it appears in an empty cache."""
    sources = {name: tmp_path / name.partition("/")[2] for name in NAMES}
    for seed, folder in enumerate(sources.values()):
        write_text_model(folder, seed=seed)
    cache = tmp_path / "hub"
    asked, done = [], defaultdict(threading.Event)

    def download(request, what, limit):
        name = request["hub"]["repo_id"]
        folder = cache / f"models--{name.replace('/', '--')}"
        snapshot = folder / "snapshots" / COMMIT
        snapshot.mkdir(parents=True, exist_ok=True)
        (folder / "refs").mkdir(exist_ok=True)
        (folder / "refs" / "main").write_text(COMMIT)
        for file in (request["files"][0], *request["more"]):
            if (sources[name] / file).is_file() and not (snapshot / file).exists():
                # Other threads never see a part of a file.
                shutil.copyfile(sources[name] / file, snapshot / "incomplete")
                (snapshot / "incomplete").rename(snapshot / file)
        asked.append((name, request["files"][0]))
        if request["files"][0] != "config.json":
            done[name].set()
        return "done"

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(_hub, "_run_process", download)
    monkeypatch.setattr(_text_folder, "_asked", set())
    return sources, asked, done


def ranked(names):
    models = [(name[-1], TextBackbone(name, device="cpu")) for name in names]
    scorer = NCTIScorer(n_components=4)
    return ModelSelector(models, scorer=scorer, refit=False, error_score="raise").fit(
        *make_texts()
    )


def test_the_next_weights_come_while_a_network_runs(hub, monkeypatch):
    sources, asked, done = hub
    real = TextBackbone.extract

    def extract(self, *args, **kwargs):
        extraction = real(self, *args, **kwargs)
        following = NAMES[NAMES.index(self.model) + 1 :]
        if following:
            assert done[following[0]].wait(AT_MOST)
            # One ahead, and not all.
            assert not any(done[name].is_set() for name in following[1:])
        return extraction

    monkeypatch.setattr(TextBackbone, "extract", extract)
    found = ranked(NAMES).results_
    weights = [name for name, file in asked if file != "config.json"]
    assert weights == NAMES
    # What is tokenized alike is known before any weights are here.
    assert [file for _, file in asked[:3]] == ["config.json"] * 3
    monkeypatch.setattr(TextBackbone, "extract", real)
    expected = ranked([f"local-dir:{sources[name]}" for name in NAMES]).results_
    assert found["rank"].tolist() == expected["rank"].tolist()


def test_a_second_run_asks_for_nothing(hub, monkeypatch):
    _, asked, _ = hub
    backbone = TextBackbone(NAMES[0], device="cpu")
    assert backbone.lacks_files()
    backbone.fetch()
    assert not backbone.lacks_files()
    assert asked == [(NAMES[0], "model.safetensors")]
    TextBackbone(f"hf-hub:{NAMES[0]}", device="cpu").fit(["a", "b"])
    assert len(asked) == 1


def test_local_folders_are_never_downloaded(tmp_path):
    backbone = TextBackbone(write_text_model(tmp_path / "m", seed=0))
    assert not backbone.lacks_files()
    backbone.fetch()
    assert backbone.hub_repository() is None
    assert TextBackbone("hf-hub:own/a").hub_repository() == "own/a"
