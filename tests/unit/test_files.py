"""Atomic writes."""

import json

import pytest

from histobench.core.files import atomic, digest, write_json, write_text


def test_an_exception_leaves_what_was_there_and_nothing_beside_it(tmp_path):
    path = tmp_path / "table.csv"
    write_text(path, "whole")
    with pytest.raises(ZeroDivisionError), atomic(path) as temporary:
        temporary.write_text("half")
        1 / 0  # noqa: B018
    assert path.read_text() == "whole"
    assert list(tmp_path.iterdir()) == [path]


def test_the_final_name_appears_only_when_the_file_is_whole(tmp_path):
    path = tmp_path / "new" / "weights.h5"
    with atomic(path) as temporary:
        temporary.write_bytes(b"x")
        assert not path.exists()
        assert temporary.suffix == ".h5"  # Keras chooses the format by it
    assert path.read_bytes() == b"x"


def test_json_refuses_what_is_no_json(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "m.json", {"auc": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_equal_values_are_equal_bytes(tmp_path):
    write_json(tmp_path / "a.json", {"a": 0.1, "b": "ä"})
    write_json(tmp_path / "b.json", {"a": 0.1, "b": "ä"})
    assert digest(tmp_path / "a.json") == digest(tmp_path / "b.json")
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == {"a": 0.1, "b": "ä"}


def test_the_digest_is_that_of_sha256sum(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")
    # FIPS 180-2, appendix B.1, and RFC 1321, appendix A.5
    assert digest(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert digest(tmp_path / "abc", "md5") == "900150983cd24fb0d6963f7d28e17f72"
