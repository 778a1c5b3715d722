"""Errors that know what they are about, so that a command line can say it in its own words."""

from collections.abc import Sequence


class ParameterError(ValueError):
    """A parameter cannot be used, which was found before the work.

    Parameters
    ----------
    parameter : str
        Name of the parameter.

    reason : str
        Its value and what is wrong with it.
    """

    def __init__(self, parameter: str, reason: str) -> None:
        super().__init__(parameter, reason)
        self.parameter, self.reason = parameter, reason

    def __str__(self) -> str:
        return f"{self.parameter}={self.reason}"


class AllFailedError(ValueError):
    """No candidate could be scored.

    Parameters
    ----------
    reason : str
        The errors of the candidates, on one line.

    tracebacks : sequence of str
        Where they were raised, each once.
    """

    def __init__(self, reason: str, tracebacks: Sequence[str]) -> None:
        super().__init__(reason, tracebacks)
        self.reason, self.tracebacks = reason, list(tracebacks)

    def __str__(self) -> str:
        return f"{self.reason} The attribute `tracebacks` of this error says where."


class AllFailedTypeError(AllFailedError, TypeError):
    """No candidate could be scored, because of a TypeError in each."""
