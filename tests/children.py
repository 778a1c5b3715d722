"""Scripts in processes of their own, forked off one that has imported torch."""

import json
import multiprocessing
import time
import traceback
from contextlib import contextmanager
from multiprocessing import forkserver
from pathlib import Path

# Importing them takes an interpreter five seconds of a processor.
_IMPORTED = [
    "sklearn_ncti",
    "torch",
    "timm",
    "transformers.models.bert.modeling_bert",
    "sklearn.ensemble",
]


def server():
    """Return the context of processes that are forked off one with these imports, if it can be."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_IMPORTED)
    # Before anyone else asks for other imports.
    forkserver.ensure_running()
    return context


class Child:
    """A script that runs with a variable `job`, and leaves its result in `answer`.

    Parameters
    ----------
    script : str
        Its code.

    job : object
        What it is given.

    folder : Path
        Where it writes its answer.
    """

    def __init__(self, script, job, folder):
        self._answer = Path(folder, f"answer-{time.monotonic_ns()}")
        self._process = server().Process(target=_run, args=(script, job, self._answer))
        self._process.start()

    def answer(self):
        """Wait for the end of the script, and return its answer."""
        self._process.join(timeout=300)
        assert self._answer.exists(), f"no answer, exit code {self._process.exitcode}"
        answer, error = json.loads(self._answer.read_text(encoding="utf-8"))
        assert not error, error
        return answer

    def is_alive(self):
        """Whether the process has not ended."""
        return self._process.is_alive()

    def kill_at(self, path):
        """Wait for a file that the script writes, and kill the process."""
        while not path.exists():
            assert self.is_alive(), f"it ended before it could be killed: {self.answer()}"
            time.sleep(0.02)
        self.close()

    def close(self):
        """End the process, whatever it does."""
        self._process.kill()
        self._process.join()


@contextmanager
def child(script, job, folder):
    """Run a script in a process that is ended with the block, see `Child`."""
    running = Child(script, job, folder)
    try:
        yield running
    finally:
        running.close()


def _run(script, job, path):
    names, error = {"__name__": "__main__", "job": job}, ""
    try:
        exec(compile(script, "<script>", "exec"), names)
    except BaseException:
        error = traceback.format_exc()
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_text(json.dumps([names.get("answer"), error]), encoding="utf-8")
    unfinished.rename(path)
