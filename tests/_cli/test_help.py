"""Help texts: examples that are commands, one a line, and short usage lines."""

import shlex

import pytest

from sklearn_ncti._cli.help import EXAMPLES
from sklearn_ncti._cli.parser import parse_options


def help_of(run, *argv):
    status, out, _ = run(*argv, "--help")
    assert status == 0
    return out


def test_every_command_has_examples(run):
    (line,) = [line for line in help_of(run).splitlines() if "COMMAND ..." in line]
    assert line.startswith("usage: ")
    listed = {line.split()[0] for line in help_of(run).splitlines() if line.startswith("    ")}
    assert set(EXAMPLES) <= listed


@pytest.mark.parametrize("command", EXAMPLES)
def test_examples_are_commands_that_can_be_copied(run, command):
    lines = help_of(run, command).partition("examples:\n")[2].splitlines()
    copied = [line.strip() for line in lines if line.startswith("    ")]
    assert len(copied) == len(EXAMPLES[command])
    for line in copied:
        program, *argv = shlex.split(line)
        assert program == "sklearn-ncti"
        assert parse_options(argv).command == command


@pytest.mark.parametrize("command", ["rank", "score", "models"])
def test_usage_is_one_line(run, command):
    usage, _, rest = help_of(run, command).partition("\n\n")
    assert usage.startswith(f"usage: sklearn-ncti {command} ")
    assert "\n" not in usage
    assert "--help" in rest
