"""Options: their values, their help and their errors."""

from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest

from sklearn_ncti._cli.options import DemoOptions, Outputs, RankOptions, ScoreOptions
from sklearn_ncti._cli.parser import make_parser, parse_options

REFERENCE = Path(__file__).resolve().parents[2] / "docs" / "cli.rst"


def described_options():
    """Options of all commands with their help, by command and name."""
    (commands,) = (action for action in make_parser()._actions if action.dest == "command")
    return {
        (command, _name_of(action)): action.help
        for command, parser in commands.choices.items()
        for action in parser._actions
        if action.dest != "help"
    }


def _name_of(action):
    long = [name for name in action.option_strings if name.startswith("--")]
    return max(long, default=action.metavar)


def test_options_of_rank():
    options = parse_options(["rank", "images", "--models", "a", "b*", "--cv", "3", "--csv", "r"])
    assert isinstance(options, RankOptions)
    assert (options.command, options.folder, options.models) == ("rank", "images", ["a", "b*"])
    assert (options.scoring.cv, options.scoring.shrinkage) == (3, "adaptive")
    assert options.outputs == Outputs(csv=Path("r"))
    assert options.outputs.paths() == {"csv": Path("r")}
    with pytest.raises(FrozenInstanceError):
        options.device = "cpu"


def test_settings_are_all_options_but_the_output_files():
    options = parse_options(["rank", "images", "--models", "a", "--html", "r.html", "--force"])
    settings = options.settings()
    assert list(settings) == sorted(settings)
    named = {
        name.removeprefix("--").replace("-", "_").lower()
        for command, name in described_options()
        if command == "rank"
    }
    assert set(settings) == named - {"json", "csv", "plot", "html", "force"}


def test_options_of_score_and_of_the_demonstration():
    options = parse_options(["score", "a.npz", "b.npz", "--shrinkage", "0.5", "--force"])
    assert isinstance(options, ScoreOptions)
    assert options.files == [Path("a.npz"), Path("b.npz")]
    assert options.scoring.shrinkage == 0.5
    assert options.outputs.force
    assert parse_options(["demo"]) == DemoOptions(Path("sklearn-ncti-demo"), force=False)


def test_every_option_has_a_help_text_and_an_entry_in_the_reference(subtests):
    text = REFERENCE.read_text(encoding="utf-8")
    for (command, name), description in described_options().items():
        with subtests.test(f"{command} {name}"):
            assert description
            assert name in text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--resamples", "0"], "argument --resamples: '0' is not a whole number from 1 to"),
        (["--resamples", "some"], "argument --resamples: 'some' is not a whole number from 1 to"),
        (["--resamples", "100001"], "'100001' is not a whole number from 1 to 100000"),
        (["--cv", "1"], "argument --cv: '1' is not a whole number of at least 2"),
        (["--random-state", "-1"], "argument --random-state: '-1' is not a whole number from 0"),
        (["--shrinkage", "2"], "argument --shrinkage: 2.0 is not in [0, 1]"),
    ],
    ids=" ".join,
)
def test_refused_values(run, files, options, message):
    status, out, err = run("score", *files, *options)
    assert (status, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert message in err
