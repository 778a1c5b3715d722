"""`CandidateResult`: all that a ranking knows of one candidate, or why it failed."""

import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ParamSpec, TypeVar

from .._utils.components import Components

P = ParamSpec("P")
T = TypeVar("T")

NAN = float("nan")


@dataclass(frozen=True)
class Failure:
    """Why a candidate, or one of its additional scorers, has no result.

    It holds text and not the exception, which may not survive the way from a worker process.

    Attributes
    ----------
    error : str
        Class and message of the exception.

    traceback : str
        Where it was raised.

    is_type_error : bool
        Whether it was a TypeError.
    """

    error: str
    traceback: str
    is_type_error: bool = False

    @classmethod
    def of(cls, exc: BaseException) -> "Failure":
        """Describe an exception that was caught."""
        text = "".join(traceback.format_exception(exc))
        return cls(f"{type(exc).__name__}: {_message(exc)}", text, isinstance(exc, TypeError))


def _message(exc: BaseException) -> str:
    try:
        return str(exc)
    except Exception:
        return "its message cannot be shown"


@dataclass(frozen=True)
class ExtractionFacts:
    """Facts about the extraction of a candidate.

    Attributes
    ----------
    extract_time : float
        Seconds until the features were available.

    images_per_second, decode_time, device_time : float
        Speed of the extraction, and seconds of waiting for images or tokens and of the network;
        NaN for cached features.

    texts_per_second, tokens_per_second : float
        Speed of the network on texts; NaN for images and for cached features.

    n_truncated : float
        Number of texts that were longer than the network takes; NaN for images.

    n_parameters : float
        Parameters of the network up to the features.

    license : str
        License of the weights, empty if it is not known.

    weighted_alpha : float
        Weighted alpha of the network's weights, smaller is better; NaN if it was not asked for
        or no weight matrix is large enough.

    unreadable : dict of int to str
        Positions of images that cannot be read, and why.
    """

    extract_time: float = NAN
    images_per_second: float = NAN
    texts_per_second: float = NAN
    tokens_per_second: float = NAN
    n_truncated: float = NAN
    decode_time: float = NAN
    device_time: float = NAN
    n_parameters: float = NAN
    license: str = ""
    weighted_alpha: float = NAN
    unreadable: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class CandidateResult:
    """Components of one candidate, or its failure.

    Attributes
    ----------
    name : str
        Name of the candidate.

    components : Components or Failure
        What the ranking scorer measured.

    n_features : float
        Number of features.

    shrinkage : float
        Shrinkage that the scorer used; NaN where it has none.

    score_time : float
        Seconds of the ranking scorer.

    resamples : Components, default=None
        The components in every resample, arrays of shape (n_resamples,).

    additional : dict of str to Components or Failure
        What the additional scorers measured, by their names.

    notes : tuple of str
        What a reader of the ranking must know of this candidate's score.

    facts : ExtractionFacts
        Facts about the extraction of its features.

    extracted : object, default=None
        Its features, where more rows will follow.
    """

    name: str
    components: Components | Failure
    n_features: float = NAN
    shrinkage: float = NAN
    score_time: float = NAN
    resamples: Components | None = None
    additional: Mapping[str, Components | Failure] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    facts: ExtractionFacts = field(default_factory=ExtractionFacts)
    extracted: Any = None

    @property
    def failure(self) -> Failure | None:
        """Why the candidate has no components, None if it has."""
        return self.components if isinstance(self.components, Failure) else None

    @property
    def error(self) -> str:
        """Class and message of the exception, empty if there was none."""
        return self.failure.error if self.failure is not None else ""

    @property
    def traceback(self) -> str:
        """Where the exception was raised, empty if there was none."""
        return self.failure.traceback if self.failure is not None else ""


def capture_errors(
    function: Callable[P, T],
    *args: Any,
    reraise: tuple[type[BaseException], ...] = (),
    **kwargs: Any,
) -> T | Failure:
    """Call a function and return its result, or the failure in which it ended.

    Parameters
    ----------
    function : callable
        What is called.

    *args, **kwargs
        Its arguments.

    reraise : tuple of exception types, default=()
        Exceptions that concern more than this call, and are raised.

    Returns
    -------
    result : object or Failure
        The result, or the failure.
    """
    try:
        return function(*args, **kwargs)
    except reraise:
        raise
    except (Exception, SystemExit, GeneratorExit) as exc:
        # Of the exceptions that are not errors only an interrupt is meant for the whole run.
        return Failure.of(exc)
