"""Downloads against a hub on the loopback address that answers, stays silent or trickles."""

import json
import os
import shutil
import subprocess
import sys
import threading
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, nullcontext
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Empty

import numpy as np
import pytest
from helpers import running

torch = pytest.importorskip("torch")
timm = pytest.importorskip("timm")
pytest.importorskip("huggingface_hub")
from huggingface_hub import constants  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402
from sklearn.exceptions import FitFailedWarning  # noqa: E402

from sklearn_ncti import ModelSelector, NCTIScorer, TextBackbone  # noqa: E402
from sklearn_ncti.backbones import TimmBackbone, _download, _hub, _timm  # noqa: E402
from sklearn_ncti.backbones._progress import told_to  # noqa: E402

MODEL = "test_resnet"
COMMIT = "0123456789" * 4


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """What a repository of the hub holds, which is a folder that timm loads as well."""
    folder = tmp_path_factory.mktemp("repository")
    torch.manual_seed(3)
    weights = timm.create_model(MODEL).state_dict()
    save_file(weights, folder / "model.safetensors")
    torch.save(weights, folder / "pytorch_model.bin")
    config = {"input_size": [3, 32, 32], "num_classes": 1000, "classifier": "fc"}
    (folder / "config.json").write_text(
        json.dumps({"architecture": MODEL, "pretrained_cfg": config})
    )
    return folder


@pytest.fixture(scope="module")
def pixels():
    return np.random.default_rng(0).integers(0, 256, (3, 24, 24, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def expected(files, pixels):
    return TimmBackbone(f"local-dir:{files}", device="cpu").fit_transform(pixels)


class Handler(BaseHTTPRequestHandler):
    """Answers as the hub does, or in the way that the name of the repository says."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        self.server.requests.append(f"{self.command} {self.path}")

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        if self.path == "/":
            self.answer(200)
        elif "/silent/" in self.path:
            self.server.asked.set()
            self.server.released.wait(600)
            self.answer(404, {"X-Error-Code": "RepoNotFound"})
        elif "/busy/" in self.path:
            self.answer(429, {"Retry-After": "60"})
        elif "/forbidden/" in self.path:
            self.answer(403)
        elif "/absent/" in self.path:
            self.answer(404, {"X-Error-Code": "RepoNotFound"})
        else:
            self.give(self.server.files / self.path.rpartition("/")[2])

    def give(self, file):
        if not file.exists() or ("/pickled/" in self.path and file.suffix == ".safetensors"):
            absent = {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT}
            return self.answer(404, absent)
        data = file.read_bytes()
        headers = {"ETag": f'"{file.name}"', "X-Repo-Commit": COMMIT}
        slow = "/slow/" in self.path and file.name != "config.json"
        self.answer(200, headers, data, stop=100 if slow else None)

    def answer(self, status, headers=(), data=b"", stop=None):
        self.send_response(status)
        for name, value in dict(headers, **{"Content-Length": len(data)}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        self.wfile.write(data[:stop])
        while stop and not self.server.released.wait(0.1):
            self.wfile.write(b"x" * 5)
        self.close_connection = True


@pytest.fixture
def server(files, tmp_path, monkeypatch):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.files, server.requests = files, []
    # Clients that hang up are a part of these tests.
    server.handle_error = lambda *args: None
    server.asked, server.released = threading.Event(), threading.Event()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(_hub, "_unreachable", {})
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    # The module of the same name belongs to all.
    server.processes = []
    popen = subprocess.Popen

    def start(*args, **kwargs):
        server.processes.append(popen(*args, **kwargs))
        return server.processes[-1]

    monkeypatch.setattr(_hub.subprocess, "Popen", start)
    yield server
    server.released.set()
    server.shutdown()
    thread.join()
    server.server_close()
    # However a download went, nothing is left of it.
    assert all(process.poll() is not None for process in server.processes)
    assert not constants.HF_HUB_OFFLINE


def backbone(name, **parameters):
    return TimmBackbone(name, device="cpu", **parameters)


@pytest.mark.parametrize("is_told", [False, True])
def test_downloads_show_no_bars_below_that_of_a_fit(server, pixels, capfd, monkeypatch, is_told):
    # The client of the hub then shows its bars without a terminal as well.
    monkeypatch.setenv("TQDM_POSITION", "-1")
    monkeypatch.delenv("HF_HUB_DISABLE_PROGRESS_BARS", raising=False)
    with told_to(lambda n_rows, what: None) if is_told else nullcontext():
        backbone("hf-hub:own/good").fit(pixels)
    out, err = capfd.readouterr()
    assert out == ""
    assert ("%|" in err) == (not is_told)


@pytest.mark.parametrize(
    "name", ["hf-hub:own/good", "hf-hub:own/pickled", "test_resnet.r160_in1k"]
)
def test_what_is_downloaded_is_what_timm_loads(server, pixels, expected, name):
    features = backbone(name).fit_transform(pixels)
    if name.startswith("hf-hub"):
        np.testing.assert_allclose(features, expected, rtol=0, atol=1e-6)
    asked, started = len(server.requests), len(server.processes)
    assert asked > 0
    # What is in the cache is not asked for again.
    np.testing.assert_array_equal(backbone(name).fit_transform(pixels), features)
    assert (len(server.requests), len(server.processes)) == (asked, started)


def test_configuration_alone_is_downloaded_for_random_weights(server, pixels):
    backbone("hf-hub:own/good", pretrained=False).fit(pixels)
    assert {request.rpartition("/")[2] for request in server.requests} == {"", "config.json"}


@pytest.mark.parametrize("name", ["silent", "slow", "busy"])
def test_hub_without_progress_is_given_up(server, pixels, monkeypatch, capfd, name):
    monkeypatch.setenv("SKLEARN_NCTI_HUB_TIMEOUT", "1")
    message = (
        rf"'hf-hub:own/{name}': the download of 'own/{name}' from {constants.ENDPOINT} made no "
        r"progress: less than 64 KiB in 1 s.*\. Try again .*SKLEARN_NCTI_HUB_TIMEOUT\.\n"
    )
    with pytest.raises(RuntimeError, match=message):
        backbone(f"hf-hub:own/{name}").fit(pixels)
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize(("name", "status"), [("absent", 404), ("forbidden", 403)])
def test_what_the_hub_says_is_told_in_one_line(server, pixels, capfd, name, status):
    with pytest.raises(RuntimeError, match=rf"^could not load.*'own/{name}' from .*{status}.*\nW"):
        backbone(f"hf-hub:own/{name}").fit(pixels)
    # The process that downloads shows nothing of its own.
    assert capfd.readouterr() == ("", "")


def test_others_do_not_wait_for_a_silent_hub(server, pixels, expected, monkeypatch):
    monkeypatch.setenv("SKLEARN_NCTI_HUB_TIMEOUT", "600")
    with ThreadPoolExecutor(1) as pool:
        silent = pool.submit(backbone("hf-hub:own/silent").fit, pixels)
        try:
            assert server.asked.wait(60)
            features = backbone("hf-hub:own/good").fit_transform(pixels)
            assert not silent.done()
        finally:
            server.released.set()
        assert isinstance(silent.exception(), RuntimeError)
    np.testing.assert_allclose(features, expected, rtol=0, atol=1e-6)


def submit_fetch(pool, server, stop=None):
    """Have the silent hub asked by another thread, and wait until it is."""

    def fetch():
        with ExitStack() as context:
            if stop is not None:
                context.enter_context(_hub.stopped_by(stop))
            backbone("hf-hub:own/silent").fetch()

    future = pool.submit(fetch)
    assert server.asked.wait(60)
    return future


def test_threads_share_a_download(server, monkeypatch):
    monkeypatch.setenv("SKLEARN_NCTI_HUB_TIMEOUT", "600")
    with ThreadPoolExecutor(2) as pool:
        first = submit_fetch(pool, server)
        second = submit_fetch(pool, server)
        wait([second], timeout=0.5)
        server.released.set()
        messages = {str(future.exception()) for future in (first, second)}
    assert len(server.processes) == len(messages) == 1
    assert "own/silent" in messages.pop()


def test_a_download_that_is_stopped(server, monkeypatch):
    monkeypatch.setenv("SKLEARN_NCTI_HUB_TIMEOUT", "600")
    stop = Future()
    with ThreadPoolExecutor(2) as pool:
        first = submit_fetch(pool, server, stop)
        second = submit_fetch(pool, server)
        wait([second], timeout=0.5)
        server.asked.clear()
        stop.set_result(None)
        assert isinstance(first.exception().__cause__, _hub.StoppedError)
        assert server.processes[0].poll() is not None
        # The thread that waited for it asks by itself.
        assert server.asked.wait(60)
        assert not second.done()
        server.released.set()
        assert "404" in str(second.exception())
    assert len(server.processes) == 2


def test_one_that_waits_for_a_download_is_stopped_alone(server, monkeypatch):
    monkeypatch.setenv("SKLEARN_NCTI_HUB_TIMEOUT", "600")
    stop = Future()
    with ThreadPoolExecutor(2) as pool:
        first = submit_fetch(pool, server)
        second = submit_fetch(pool, server, stop)
        wait([second], timeout=0.5)
        stop.set_result(None)
        assert isinstance(second.exception().__cause__, _hub.StoppedError)
        assert not first.done()
        server.released.set()
        assert "404" in str(first.exception())
    assert len(server.processes) == 1


def test_nothing_is_started_after_the_stop(server):
    stop = Future()
    stop.set_result(None)
    with _hub.stopped_by(stop), pytest.raises(RuntimeError, match=r"own/good.*was stopped"):
        backbone("hf-hub:own/good").fetch()
    assert not server.processes
    backbone("hf-hub:own/good").fetch()
    assert not backbone("hf-hub:own/good").lacks_files()


def test_work_from_the_cache_is_not_taken_for_a_setting(server, pixels):
    with ThreadPoolExecutor(1) as pool:
        with _hub.from_cache():
            other = pool.submit(backbone("hf-hub:own/good").fit, pixels)
            wait([other], timeout=0.2)
        assert other.result().n_features_out_ == 96


def test_silent_hub_is_one_failed_row(server, pixels, monkeypatch):
    monkeypatch.setenv("SKLEARN_NCTI_HUB_TIMEOUT", "1")
    monkeypatch.setattr(_timm, "_GEOMETRY_SECONDS", 0.1)
    models = [
        ("silent", backbone("hf-hub:own/silent")),
        ("random", backbone(MODEL, pretrained=False)),
    ]
    images = np.concatenate([pixels] * 3)
    with (
        pytest.warns(UserWarning, match="rows are few"),
        pytest.warns(FitFailedWarning, match="1 of 2 candidates failed"),
    ):
        selector = ModelSelector(models, n_jobs=2, refit=False).fit(images, np.arange(9) % 2)
    silent, random = selector.results_["error"]
    assert "made no progress" in silent
    assert random == ""


def test_geometry_is_not_waited_for(server, monkeypatch):
    monkeypatch.setattr(_timm, "_GEOMETRY_SECONDS", 60)
    assert backbone("hf-hub:own/good").geometry().shape == (32, 32, 3)
    monkeypatch.setattr(_timm, "_GEOMETRY_SECONDS", 0.1)
    assert backbone("hf-hub:own/silent").geometry() is None


@pytest.mark.parametrize("name", ["hf-hub:own/good", "test_resnet.r160_in1k"])
def test_without_a_network_nothing_is_retried(server, pixels, monkeypatch, name):
    # An address where nothing answers.
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    for _ in range(2):
        with pytest.raises(RuntimeError, match=r"127.0.0.1:9 cannot be reached(?s:.)*HF_HOME"):
            backbone(name).fit(pixels)
    # The second knows already.
    assert len(server.processes) == 1


def test_offline_nothing_is_started(server, pixels, monkeypatch):
    with monkeypatch.context() as offline:
        offline.setattr(constants, "HF_HUB_OFFLINE", True)
        with pytest.raises(RuntimeError, match="HF_HUB_OFFLINE is set, and the local cache lacks"):
            backbone("hf-hub:own/good").fit(pixels)
    assert not server.processes
    # What is in the cache is used.
    features = backbone("hf-hub:own/good").fit_transform(pixels)
    with monkeypatch.context() as offline:
        offline.setattr(constants, "HF_HUB_OFFLINE", True)
        np.testing.assert_array_equal(backbone("hf-hub:own/good").fit_transform(pixels), features)


def test_without_a_limit_timm_downloads_by_itself(monkeypatch, pixels):
    monkeypatch.setenv("SKLEARN_NCTI_HUB_TIMEOUT", "0")
    for name in ("download_from_hub", "from_cache"):
        monkeypatch.setattr(_timm, name, lambda *args: pytest.fail("not by this process"))
    made = []

    def create(name, **arguments):
        made.append(name)
        raise OSError("no room on the disk")

    monkeypatch.setattr(timm, "create_model", create)
    with pytest.raises(RuntimeError, match="no room"):
        backbone("resnet18").fit(pixels)
    assert made == ["resnet18"]


@pytest.mark.parametrize("text", ["soon", "-1", "nan", "inf"])
def test_limit_that_is_no_number_of_seconds(monkeypatch, pixels, text):
    monkeypatch.setenv("SKLEARN_NCTI_HUB_TIMEOUT", text)
    with pytest.raises(ValueError, match=f"SKLEARN_NCTI_HUB_TIMEOUT must be .*; got '{text}'"):
        backbone("resnet18").fit(pixels)


def test_order_of_files_is_that_of_timm():
    from timm.models import _hub as timm_hub

    for own in ("pytorch_model.bin", "open_clip_pytorch_model.bin", "a.bin", "a.safetensors"):
        assert _timm._hub_files(own) == [*timm_hub._get_safe_alternatives(own), own]
    assert _timm._hub_files(None) == _timm._hub_files(timm_hub.HF_WEIGHTS_NAME)


def test_weights_that_are_not_on_the_hub(monkeypatch, tmp_path):
    name = "gcvit_xxtiny.in1k"
    url = timm.models.get_pretrained_cfg(name).url
    asked = []
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(_timm, "download_from_address", lambda *args: asked.append(args))
    backbone(name).fetch()
    file = tmp_path / "checkpoints" / url.rpartition("/")[2]
    assert asked == [(url, file)]
    file.touch()
    backbone(name).fetch()
    assert len(asked) == 1


def test_file_from_another_address(server, files, tmp_path):
    url = f"{constants.ENDPOINT}/good/model.safetensors"
    _hub.download_from_address(url, tmp_path / "weights")
    assert (tmp_path / "weights").read_bytes() == (files / "model.safetensors").read_bytes()


# --- the process that downloads


@pytest.fixture
def start():
    with ExitStack() as children:

        def start(request):
            command = [sys.executable, "-P", _download.__file__]
            child = children.enter_context(running(*command, stdin=subprocess.PIPE))
            child.stdin.write(json.dumps({"path": sys.path, **request}) + "\n")
            child.stdin.flush()
            return child

        yield start


def request(name, files, folder):
    hub = {"repo_id": f"own/{name}", "endpoint": constants.ENDPOINT, "cache_dir": str(folder)}
    return {"hub": hub, "files": files}


def test_progress_is_told_of_every_part(server, files, start, tmp_path):
    process = start(request("good", ["model.safetensors"], tmp_path))
    events = [json.loads(line)[0] for line in process.stdout]
    size = os.path.getsize(files / "model.safetensors")
    # One of them is the answer of the hub itself.
    assert events.count("progress") == 1 + size // _download.PART
    assert events[-1] == "done"


def test_process_ends_with_its_parent(server, start, tmp_path):
    process = start(request("silent", ["config.json"], tmp_path))
    assert server.asked.wait(60)
    process.stdin.close()
    assert process.wait(60) == 1


def test_nothing_is_left_of_a_file_that_did_not_come(server, start, tmp_path):
    process = start(request("slow", ["model.safetensors"], tmp_path))
    while not list(tmp_path.rglob("*.incomplete")):
        assert process.poll() is None
    process.terminate()
    assert process.wait(60) == 1
    assert not list(tmp_path.rglob("*.incomplete"))


class Script:
    """Events that come after some seconds each, on a clock of their own."""

    def __init__(self, *events):
        self.events, self.now = list(events), 0.0

    def monotonic(self):
        return self.now

    def get(self, timeout):
        seconds, kind, text = self.events[0]
        if seconds > timeout:
            raise Empty
        self.now += seconds
        del self.events[0]
        return json.dumps([kind, text])


@pytest.mark.parametrize(
    ("events", "ends"),
    [
        # To start takes its time, and so does a large file.
        ([(50, "ready", ""), *[(9, "progress", "")] * 100, (9, "done", "")], "done"),
        ([(1, "ready", ""), (11, "done", "")], "less than 64 KiB in 10 s. Try"),
        ([(1, "ready", ""), (6, "note", "a"), (6, "done", "")], r"in 10 s \(last: a\)\. Try"),
        (
            [(1, "ready", ""), (6, "note", "a"), (1, "note", "Retrying in 8s"), (6, "", "")],
            "last: a",
        ),
        ([(1, "ready", ""), (1, "failed", "gone")], "^the download of it failed: gone"),
        ([(1, "unreachable", "")], "unreachable"),
        ([(1, "ready", ""), (1, "stopped", "")], "^the download of it was stopped$"),
    ],
)
def test_what_is_waited_for(monkeypatch, events, ends):
    script = Script(*events)
    monkeypatch.setattr(_hub, "time", script)
    if events[-1][1] == ends:
        assert _hub._follow(script, "it", 10) == ends
        return
    with pytest.raises(OSError, match=ends):
        _hub._follow(script, "it", 10)


TEXTS = ["a flight to rome", "my balance", "rice and beans"]


def text_backbone(server, text_models, name, **parameters):
    """A text encoder from a repository that holds a tiny BERT."""
    server.files = Path(text_models["bert"].removeprefix("local-dir:"))
    return TextBackbone(name, device="cpu", **parameters)


@pytest.mark.parametrize("prefix", ["", "hf-hub:"])
def test_text_encoder_is_downloaded_once(server, text_models, prefix):
    expected = TextBackbone(text_models["bert"], device="cpu").fit_transform(TEXTS)
    backbone = text_backbone(server, text_models, f"{prefix}good/model")
    np.testing.assert_allclose(backbone.fit_transform(TEXTS), expected, rtol=1e-5)
    # What the folder holds, not where it came from.
    assert backbone.identity() == TextBackbone(text_models["bert"], device="cpu").identity()
    server.requests.clear()
    text_backbone(server, text_models, "good/model").fit_transform(TEXTS)
    assert server.requests == []
    text_backbone(server, text_models, "good/model", revision=COMMIT).fit_transform(TEXTS)


@pytest.mark.parametrize(
    ("name", "message"), [("absent/model", "failed: "), ("forbidden/model", "failed: ")]
)
def test_text_encoder_that_does_not_come(server, text_models, name, message):
    backbone = text_backbone(server, text_models, name)
    with pytest.raises(RuntimeError, match=f"could not load {name!r}: .*{message}.*local-dir:"):
        backbone.fit(TEXTS)


def test_text_encoder_of_several_files(server, text_models, tmp_path):
    weights = load_file(Path(text_models["bert"].removeprefix("local-dir:"), "model.safetensors"))
    shutil.copytree(text_models["bert"].removeprefix("local-dir:"), tmp_path / "parts")
    (tmp_path / "parts" / "model.safetensors").unlink()
    names = sorted(weights)
    parts = {"first.safetensors": names[:9], "second.safetensors": names[9:]}
    for file, own in parts.items():
        part = {name: weights[name] for name in own}
        save_file(part, tmp_path / "parts" / file, {"format": "pt"})
    index = {"weight_map": {name: file for file, own in parts.items() for name in own}}
    index["metadata"] = {"total_size": 1}
    (tmp_path / "parts" / "model.safetensors.index.json").write_text(json.dumps(index))
    expected = TextBackbone(text_models["bert"], device="cpu").fit_transform(TEXTS)
    server.files = tmp_path / "parts"
    backbone = TextBackbone("good/parts", device="cpu")
    np.testing.assert_allclose(backbone.fit_transform(TEXTS), expected, rtol=1e-5)


def test_text_encoder_without_a_hub_is_one_failure(server, text_models, tmp_path):
    models = [
        ("good", TextBackbone(text_models["bert"], device="cpu")),
        ("bad", text_backbone(server, text_models, "absent/model")),
    ]
    texts = [f"{text} {n}" for n in range(10) for text in TEXTS]
    selector = ModelSelector(models, refit=False, scorer=NCTIScorer(n_components=3))
    with pytest.warns(FitFailedWarning, match="could not load 'absent/model'"):
        selector.fit(texts, [0, 1, 2] * 10)
    assert selector.results_["error"][0] == ""
