"""Public names of a folder that are imported when they are first used."""

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def lazy_names(
    package: str, module_of: Mapping[str, str], modules: tuple[str, ...] = ()
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return ``__getattr__`` and ``__dir__`` of a package whose names are imported late.

    Parameters
    ----------
    package : str
        Name of the package.

    module_of : dict of str to str
        Module of each name, relative to the package.

    modules : tuple of str, default=()
        Modules of the package that are public themselves.

    Returns
    -------
    getter : callable
        The function ``__getattr__`` of the package.

    lister : callable
        The function ``__dir__`` of the package.

    Examples
    --------
    >>> from sklearn_ncti._utils.lazy import lazy_names
    >>> getter, lister = lazy_names("json", {"JSONDecoder": "decoder"})
    >>> getter("JSONDecoder").__name__
    'JSONDecoder'
    """

    def getter(name: str) -> Any:
        if name in modules:
            return import_module(f".{name}", package)
        if name in module_of:
            return getattr(import_module(f".{module_of[name]}", package), name)
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    def lister() -> list[str]:
        return sorted({*vars(sys.modules[package]), *module_of, *modules})

    return getter, lister
