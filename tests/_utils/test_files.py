"""Files that are written as a whole or not at all."""

import os

import pytest

from sklearn_ncti._utils.files import real_path, temporary_file, write_file


def test_a_new_file_has_the_data(tmp_path):
    write_file(tmp_path / "new", b"data", overwrite=False)
    assert (tmp_path / "new").read_bytes() == b"data"
    assert os.listdir(tmp_path) == ["new"]


def test_an_existing_file_is_replaced_only_on_request(tmp_path):
    file = tmp_path / "old"
    file.write_bytes(b"precious")
    with pytest.raises(FileExistsError):
        write_file(file, b"data", overwrite=False)
    assert file.read_bytes() == b"precious"
    write_file(file, b"data", overwrite=True)
    assert file.read_bytes() == b"data"
    assert os.listdir(tmp_path) == ["old"]


def test_a_failure_leaves_the_older_file(tmp_path, monkeypatch):
    file = tmp_path / "old"
    file.write_bytes(b"precious")

    def full(descriptor):
        raise OSError("no space left")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space left"):
        write_file(file, b"data", overwrite=True)
    assert file.read_bytes() == b"precious"
    assert os.listdir(tmp_path) == ["old"]


def test_a_link_stays_a_link(tmp_path):
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_bytes(b"old")
    try:
        link.symlink_to(target)
    except OSError:
        pytest.skip("this system has no links")
    write_file(link, b"new", overwrite=True)
    assert link.is_symlink()
    assert target.read_bytes() == b"new"
    assert real_path(link) == real_path(target)


def test_a_temporary_file_goes_with_its_block(tmp_path):
    with temporary_file(tmp_path) as file:
        file.write(b"data")
        assert len(os.listdir(tmp_path)) == 1
    assert os.listdir(tmp_path) == []
