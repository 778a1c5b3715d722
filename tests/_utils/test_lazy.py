"""Names that a package imports late."""

import json
import json.decoder

import pytest

from sklearn_ncti._utils.lazy import lazy_names

GETTER, LISTER = lazy_names("json", {"JSONDecoder": "decoder"}, ("tool",))


def test_name_is_that_of_its_module():
    assert GETTER("JSONDecoder") is json.decoder.JSONDecoder
    assert GETTER("tool").__name__ == "json.tool"


def test_unknown_name_is_an_attribute_error():
    # `hasattr` and `from package import name` rely on it.
    with pytest.raises(AttributeError, match="module 'json' has no attribute 'JSONDecode'"):
        GETTER("JSONDecode")


def test_names_are_listed_once_with_those_of_the_package():
    names = LISTER()
    assert names == sorted(set(names))
    assert {"JSONDecoder", "tool", "loads"} <= set(names)
