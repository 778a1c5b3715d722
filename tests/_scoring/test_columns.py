"""The registry of columns against the results that rankings really have."""

import re

import numpy as np
import pytest
from helpers import make_problem

from sklearn_ncti import ModelSelector, NCTIScorer, rank_features
from sklearn_ncti._scoring.columns import (
    COLUMNS,
    MEASURE,
    check_columns,
    component_columns,
    number_text,
    scorer_columns,
    value_format,
)
from sklearn_ncti.companions import HScore


def test_every_column_of_a_ranking_is_registered():
    X, y = make_problem(n=120, d=8, n_classes=3)
    results = rank_features(
        {"a": X, "b": X[:, :3]},
        y,
        scorer=[NCTIScorer(), ("mine", HScore())],
        baseline={"a": 1.0},
        prior={"a": 1.0, "b": 2.0},
        n_resamples=40,
        random_state=0,
    ).results
    of_components = [
        c.name for name in ("seli", "ncc", "vc", "prior") for c in component_columns(name)
    ]
    of_scorer = [c.name for c in scorer_columns("mine")]
    of_halving = {"iteration", "n_samples"}
    of_texts = {"texts_per_second", "tokens_per_second", "n_truncated"}
    assert set(results) == {*COLUMNS, *of_components, *of_scorer} - of_halving - of_texts


def test_formats_fit_the_values():
    X, y = make_problem(n=120, d=8, n_classes=3)
    results = rank_features({"a": X, "b": X[:, :3]}, y, n_resamples=40, random_state=0).results
    for name, column in COLUMNS.items():
        if name not in results:
            continue
        for value in results[name]:
            assert format(value, column.format) or value == ""


def test_the_selector_documents_its_columns():
    """Columns of the registry that its results have are in its docstring."""
    text = ModelSelector.__doc__
    for name in set(COLUMNS) - {"baseline", "baseline_rank"}:
        assert re.search(rf"`{name}`", text), name


def test_costs_say_which_way_is_better():
    costs = {name: c.larger_is_better for name, c in COLUMNS.items() if c.is_cost}
    assert costs == {
        "n_features": False,
        "images_per_second": True,
        "texts_per_second": True,
        "n_parameters": False,
    }


def test_columns_are_written_once():
    check_columns(["seli", "ncc"], [], ["mine", "yours"])
    for scorers in (["seli"], ["normalized_ncc"], ["score"], ["mine", "mine_rank"], ["mine"] * 2):
        with pytest.raises(ValueError, match="would overwrite"):
            check_columns(["seli", "ncc"], [], scorers)
    with pytest.raises(ValueError, match="a class of another name"):
        check_columns(["error"], ["error"], [])
    with pytest.raises(ValueError, match="another name of the component"):
        check_columns(["error"], [], [])


def test_meanings_are_told_apart():
    columns = [*COLUMNS.values(), *component_columns("ncc"), *scorer_columns("mine")]
    assert len({column.meaning for column in columns}) == len(columns)
    assert len({column.header for column in columns}) == len(columns)
    assert all(column.meaning for column in columns)


@pytest.mark.parametrize("spread", [100.0, 1.0, 0.2, 0.05, 0.002])
def test_the_range_of_a_measure_has_at_least_two_digits(spread):
    values = 3.0 + spread * np.array([0.0, 0.3, 1.0])
    style = value_format(MEASURE, [*values, np.nan])
    step = 10.0 ** -int(style[1:-1])
    assert 10 * step <= spread * (1 + 1e-9)
    # No more decimals than that: with one less, the range has only one digit.
    assert style == MEASURE or spread < 100 * step


def test_rounding_noise_adds_no_decimals():
    assert value_format(MEASURE, [0.3, 0.3 + 1e-9]) == MEASURE
    assert value_format(MEASURE, [np.nan, 0.3]) == value_format(MEASURE, []) == MEASURE
    assert value_format(".1f", [0.3, 0.301]) == ".1f"


def test_numbers_as_text():
    assert number_text(-1e-9, MEASURE) == number_text(0.0, MEASURE)
    assert float(number_text(-0.25, MEASURE)) == -0.25
    assert number_text(np.nan, MEASURE) == number_text(-np.inf, ",.0f") == "-"
    assert number_text(np.int64(7), "d") == "7"
