"""Find the stack level with which a warning names the line of the user's code."""

import sys
from types import FrameType

# Frames of these stand between the user's code and the package: estimators are called through
# wrappers of scikit-learn and contextlib, and candidates by joblib, in threads or processes.
_SKIPPED = {
    "sklearn_ncti",
    "sklearn",
    "joblib",
    "contextlib",
    "concurrent",
    "threading",
    "multiprocessing",
    "runpy",
}


def find_stack_level() -> int:
    """Return the `stacklevel` of the first frame outside of the package.

    Frames of scikit-learn, of joblib and of threads are skipped as well. In a thread or a process
    of workers there is no frame of the user; the result is then the outermost frame of the
    package.

    Returns
    -------
    level : int
        Value for the `stacklevel` of a `warnings.warn` in the calling function.
    """
    # Level 1 is the function that warns, which called this one.
    frame: FrameType | None = sys._getframe(1)
    level = outermost = 1
    while frame is not None:
        package = _module_name(frame).partition(".")[0]
        if package not in _SKIPPED:
            return level
        if package == "sklearn_ncti":
            outermost = level
        frame, level = frame.f_back, level + 1
    return outermost


def _module_name(frame: FrameType) -> str:
    # A module that is run by `python -m` is called __main__, but its spec has its own name.
    spec = frame.f_globals.get("__spec__")
    return str(frame.f_globals.get("__name__", "") if spec is None else spec.name)
