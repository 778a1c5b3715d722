"""Markup that the parts of a report share: escaped text and definition lists."""

import html
from collections.abc import Mapping
from typing import Any

from ..._utils.terminal import printable


def escaped(text: object, keep: str = "") -> str:
    """Return text with markup and unprintable characters escaped."""
    return html.escape(printable(text, keep))


def definitions(items: Mapping[str, Any]) -> str:
    """Return terms and their values as a definition list."""
    lines = (
        f"<dt>{escaped(name)}</dt><dd>{escaped(_shown(value))}</dd>"
        for name, value in items.items()
    )
    return f"<dl>{''.join(lines)}</dl>"


def _shown(value: Any) -> str:
    """Return a setting as text."""
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return "-" if value is None else str(value)
