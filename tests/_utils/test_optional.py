"""Optional packages that are missing, installed, or installed and broken."""

import json

import pytest

from sklearn_ncti._utils.optional import import_optional


def test_installed_package_is_imported():
    assert import_optional("json", extra="timm") is json


def test_missing_package_names_the_extra():
    message = r"'absent_package' is not installed.*pip install 'sklearn-ncti\[plot\]'"
    with pytest.raises(ImportError, match=message):
        import_optional("absent_package.module", extra="plot")


def test_fault_inside_an_installed_package_is_not_hidden(tmp_path, monkeypatch):
    (tmp_path / "broken_package.py").write_text("import something_else_that_is_missing")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="something_else_that_is_missing"):
        import_optional("broken_package", extra="timm")
