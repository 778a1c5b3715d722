"""Where the command line begins: what is said without scikit-learn."""

import subprocess
import sys

import pytest

HEAVY = {"sklearn", "scipy", "pandas", "torch"}


@pytest.mark.parametrize("argv", [["--help"], ["rank", "--help"], ["--version"], ["rank"]])
def test_help_and_wrong_usage_import_nothing_heavy(argv):
    code = f"""
import sys
from sklearn_ncti._cli import main
try:
    main({argv!r})
except SystemExit:
    print(*sys.modules, file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "numpy" in done.stderr.split()
    assert not HEAVY & set(done.stderr.split())
