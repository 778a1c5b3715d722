"""Messages of the package in the words of the command line."""

import ast
import re
from pathlib import Path

import numpy as np
import pytest
from helpers import make_problem

import sklearn_ncti
from sklearn_ncti import ModelSelector
from sklearn_ncti._cli.parser import make_parser
from sklearn_ncti._cli.words import _OPTIONS, in_options


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("cv=5 needs rows", "--cv 5 needs rows"),
        ("Use cv=None.", "Use no --cv."),
        ("has cv=5 (variant='paper').", "has --cv 5 (--variant paper)."),
        ("n_resamples=0", "no --resamples"),
        ("memory='my cache' is closed", "--cache 'my cache' is closed"),
        ("on_bad_image='skip' does that.", "--skip-bad-images does that."),
        ("max_time=1000.0 was over", "--max-time 1000 was over"),
        ("max_download=0.001 GB is", "--max-download 0.001 GB is"),
        ('prior="imagenet"', "--prior imagenet"),
        ("license=['mit', 'a b'] removes", "--license mit 'a b' removes"),
        ("max_parameters=5000000.0 removes", "--max-parameters 5 removes"),
        ("self_supervised=False removes", "--no-self-supervised removes"),
        ("NCTIScorer(shrinkage=0.1) treats", "--shrinkage 0.1 treats"),
        ("add rows, or lower n_components.", "add rows, or lower --n-components."),
        ("NCTIScorer(cv=5, n_components=3)", "--cv 5 --n-components 3"),
    ],
)
def test_parameters_become_options(text, shown):
    assert in_options(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        # Paths and files, which are nobody's parameters.
        "runs/cv=5/model cannot be read",
        "'batch_size=64' is no folder",
        "cv=5.npz cannot be read",
        "local-dir:device=cuda",
        # Parameters that the command line lacks, and values that cannot be typed.
        "pretrained=False",
        "cv=KFold(n_splits=3)",
        "xcv=5",
        # What describes an object is not to be typed either.
        "NearestCenterClassifier(cv='loo', shrinkage='scale-free')",
        "1 candidate(s) failed",
        # Names that are words as well, and names in paths.
        "the device and the batch of the scorer",
        "n_components.npz, max_time/x and n_resamples_",
    ],
)
def test_other_text_stays(text):
    assert in_options(text) == text


def test_every_option_exists():
    (commands,) = (action for action in make_parser()._actions if action.dest == "command")
    known = {name for p in commands.choices.values() for name in p._option_string_actions}
    assert set(filter(None, _OPTIONS.values())) <= known


def test_parameters_of_the_selector_are_options_of_rank_or_left_out_on_purpose():
    parameters = set(ModelSelector([]).get_params(deep=False))
    missing = {"final_estimator", "refit", "weights", "error_score", "verbose"}
    assert parameters - missing <= _OPTIONS.keys()


def messages():
    """Texts in the source of the package that name a parameter which is an option."""
    pattern = re.compile(rf"(?<![\w.])({'|'.join(_OPTIONS)})=")
    for path in sorted(Path(sklearn_ncti.__file__).parent.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        parts = {
            id(part)
            for node in ast.walk(tree)
            if isinstance(node, ast.JoinedStr)
            for part in ast.walk(node)
            if part is not node
        }
        for node in ast.walk(tree):
            if id(node) in docstrings | parts:
                continue
            if isinstance(node, ast.JoinedStr):
                # Any value will do for those that are only known when the message is made.
                text = "".join(
                    part.value if isinstance(part, ast.Constant) else "1" for part in node.values
                )
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                text = node.value
            else:
                continue
            is_code = "\n" in text
            if pattern.search(text) and not is_code:
                yield f"{path.name}:{node.lineno}", text, pattern


def test_no_message_of_the_package_escapes(subtests):
    found = list(messages())
    # What Python code describes, and what says both itself.
    exempt = ("NearestCenterClassifier", "data-", "companions.", "on the command line")
    # Code, and a form that is filled with the option itself.
    exempt += ("numpy.savez(", "split={!r}")
    assert len(found) > 20
    for place, text, pattern in found:
        if not any(word in text for word in exempt):
            with subtests.test(place):
                assert not pattern.search(in_options(text)), text


def test_errors_warnings_and_notes(run, tmp_path):
    X, y = make_problem(n=60, d=10, spread=1.0, scale=3.0)
    files = [tmp_path / f"{name}.npz" for name in ("a", "b", "c")]
    # One of the candidates has a scale at which it is not shrunk.
    for path, factor in zip(files, (0.1, 0.2, 100.0), strict=True):
        np.savez(path, features=factor * X, labels=y)
    status, out, err = run("score", *map(str, files), "--resamples", "10")
    assert status == 0
    assert "--resamples 10 are few" in err
    assert "--shrinkage 0.1" in " ".join(out.split())
    for word in ("n_resamples", "NCTIScorer"):
        assert word not in out + err
    (tmp_path / "prior.json").write_text('{"a": 1.0, "b": 2.0}')
    status, _, err = run(
        *("score", str(files[0]), str(files[1]), "--normalization", "absolute"),
        *("--prior", str(tmp_path / "prior.json")),
    )
    assert status == 2
    assert "cannot be added under --normalization absolute" in err
