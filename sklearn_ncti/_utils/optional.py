"""Import of optional packages, with an error that names the extra to install."""

from importlib import import_module
from types import ModuleType


def import_optional(module: str, *, extra: str) -> ModuleType:
    """Import a module of a package that the base installation does not require.

    Parameters
    ----------
    module : str
        Dotted name of the module, for example ``"timm.data"``.

    extra : str
        Extra of this package that installs it, for example ``"timm"``.

    Returns
    -------
    module : module
        The imported module.

    Raises
    ------
    ImportError
        If the module is not installed; the message names the command that installs it.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as exc:
        # If an installed package lacks one of its own dependencies, the extra would not help.
        # That error is raised unchanged.
        package = module.partition(".")[0]
        if exc.name is None or exc.name.partition(".")[0] != package:
            raise
        raise ImportError(
            f"{package!r} is not installed, and this needs it. "
            f"Install it with: pip install 'sklearn-ncti[{extra}]'"
        ) from exc
