"""Completion of commands, options and model names in a shell, by argcomplete."""

import argparse
import os
from collections.abc import Iterable
from importlib.util import find_spec
from typing import Any

from .._utils.optional import import_optional
from ..datasets import load_catalogue


def complete(parser: argparse.ArgumentParser) -> None:
    """Print completions and exit if a shell asks for them; else do nothing."""
    if "_ARGCOMPLETE" in os.environ and find_spec("argcomplete") is not None:
        import_optional("argcomplete", extra="completion").autocomplete(parser)


def with_model_names(action: Any) -> None:
    """Have the values of an option completed by the names of timm's pre-trained models."""
    action.completer = _models


def _models(prefix: str, **_: object) -> Iterable[str]:
    """Return the names that begin so: architectures first, their weights after a dot."""
    names = [str(name) for name in load_catalogue()["name"] if str(name).startswith(prefix)]
    architectures = {name.partition(".")[0] for name in names}
    return names if "." in prefix or len(architectures) == 1 else sorted(architectures)
