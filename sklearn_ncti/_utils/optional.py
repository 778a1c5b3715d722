"""Import a package that an extra brings, or say which extra to install."""

from importlib import import_module
from types import ModuleType


def import_optional(module: str, *, extra: str) -> ModuleType:
    """Import `module`, which the base installation does not need.

    Parameters
    ----------
    module : str
        Dotted name of the module, for example ``"timm.data"``.

    extra : str
        The extra of this package that installs it, for example ``"timm"``.

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
        # A package that is there but lacks something of its own is another fault: the
        # extra would not mend it, so that error is left as it is.
        package = module.partition(".")[0]
        if exc.name is None or exc.name.partition(".")[0] != package:
            raise
        raise ImportError(
            f"{package!r} is not installed, and this needs it. "
            f"Install it with: pip install 'sklearn-ncti[{extra}]'"
        ) from exc
