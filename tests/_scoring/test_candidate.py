"""Results and failures of candidates."""

import pickle

import pytest

from sklearn_ncti import Components
from sklearn_ncti._scoring.candidate import CandidateResult, Failure, capture_errors


class Unprintable(Exception):
    def __str__(self):
        raise RuntimeError("no message")


def fail(error):
    raise error


def test_a_result_is_returned_and_a_failure_described():
    assert capture_errors(lambda a, b=0: a + b, 1, b=2) == 3
    failure = capture_errors(fail, TypeError("no such thing"))
    assert failure.error == "TypeError: no such thing"
    assert failure.is_type_error
    assert failure.traceback.endswith("TypeError: no such thing\n")
    assert "in fail" in failure.traceback
    assert not capture_errors(fail, ValueError()).is_type_error


@pytest.mark.parametrize("error", [SystemExit(3), GeneratorExit()])
def test_what_would_end_the_process_fails_one_candidate(error):
    assert isinstance(capture_errors(fail, error), Failure)


def test_an_interrupt_is_meant_for_the_whole_run():
    with pytest.raises(KeyboardInterrupt):
        capture_errors(fail, KeyboardInterrupt())


def test_errors_that_concern_more_are_raised():
    with pytest.raises(LookupError):
        capture_errors(fail, KeyError("all"), reraise=(LookupError,))


def test_a_message_that_cannot_be_shown():
    failure = capture_errors(fail, Unprintable())
    assert failure.error == "Unprintable: its message cannot be shown"


def test_failures_come_back_from_other_processes():
    """An exception whose arguments are not those of its class cannot be unpickled."""

    class Odd(Exception):
        def __init__(self, a, b):
            super().__init__(f"{a} and {b}")

    result = CandidateResult("x", capture_errors(fail, Odd(1, 2)))
    again = pickle.loads(pickle.dumps(result))
    assert again.error == "Odd: 1 and 2"
    assert again.failure is not None


def test_a_result_without_failure_has_no_error():
    result = CandidateResult("x", Components({"a": 1.0}))
    assert result.failure is None
    assert result.error == ""
