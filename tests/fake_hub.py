"""A hub without a network: what is asked of it appears in the cache."""

import json
import os
import threading
from collections import defaultdict

import pytest

torch = pytest.importorskip("torch")
timm = pytest.importorskip("timm")
pytest.importorskip("huggingface_hub")
from safetensors.torch import save_file  # noqa: E402

COMMIT = "0123456789" * 4


class FakeHub:
    """Takes the place of the process that downloads, and records what is asked.

    Attributes
    ----------
    asked : list of (str, str)
        Repository and file of every download, in the order of their beginning.

    begun, done : dict of str to Event
        By repository, whether a download of weights has begun or is complete.

    most : int
        Largest number of downloads at the same time.

    during : dict of str to callable
        Called in the middle of the download of a repository's weights.
    """

    def __init__(self, folder):
        self.folder = folder
        self.asked = []
        self.begun, self.done = defaultdict(threading.Event), defaultdict(threading.Event)
        self.most = self._active = 0
        self.during = {}
        self._lock, self._putting = threading.Lock(), threading.Lock()

    def download(self, request, what, limit):
        repository, files = request["hub"]["repo_id"], request["files"]
        with self._lock:
            self.asked.append((repository, files[0]))
            self._active += 1
            self.most = max(self.most, self._active)
        try:
            if files[0] != "config.json":
                self.begun[repository].set()
                self.during.get(repository, lambda: None)()
            self.put(repository, files[0])
            if files[0] != "config.json":
                self.done[repository].set()
            return "done"
        finally:
            with self._lock:
                self._active -= 1

    def path(self, repository):
        return self.folder / f"models--{repository.replace('/', '--')}"

    def put(self, repository, file="model.safetensors"):
        """Put a file of a repository into the cache."""
        snapshot = self.path(repository) / "snapshots" / COMMIT
        snapshot.mkdir(parents=True, exist_ok=True)
        # Other threads read while this one writes: whole files appear, as with the real hub.
        refs = self.path(repository) / "refs"
        refs.mkdir(exist_ok=True)
        if not (refs / "main").exists():
            _write(refs / "main", lambda path: path.write_text(COMMIT))
        if file == "config.json":
            config = {"input_size": [3, 32, 32], "num_classes": 1000, "classifier": "fc"}
            config = {"architecture": "test_resnet", "pretrained_cfg": config}
            _write(snapshot / file, lambda path: path.write_text(json.dumps(config)))
            return
        owner, _, name = repository.partition("/")
        # The generator belongs to all threads, so that a second file might hold other weights. As
        # with the real hub, what is in the cache stays.
        with self._putting:
            if (snapshot / file).exists():
                return
            with torch.random.fork_rng():
                torch.manual_seed(sum(map(ord, name)))
                architecture = name.partition(".")[0] if owner == "timm" else "test_resnet"
                model = timm.create_model(architecture)
            _write(snapshot / file, lambda path: save_file(model.state_dict(), path))

    def repositories(self):
        """Return the repositories in the cache."""
        return {
            path.name.removeprefix("models--").replace("--", "/") for path in self.folder.iterdir()
        }


def _write(file, write):
    """Write a file under another name first."""
    temporary = file.with_name(f"{file.name}.{threading.get_ident()}.incomplete")
    write(temporary)
    os.replace(temporary, file)
