"""Atomic writes."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from histobench.core.errors import HistobenchError
from histobench.core.files import (
    atomic,
    digest,
    read_sealed,
    unchanged,
    write_json,
    write_sealed,
    write_text,
    write_with_digest,
)


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


SEALED = {"auc": 0.8125, "rate": 1e-05, "of": {"ä": [1, None, True]}, "text": "two\nlines"}


@pytest.fixture(scope="module")
def sealed(tmp_path_factory):
    path = tmp_path_factory.mktemp("sealed") / "metrics.json"
    write_sealed(path, SEALED)
    return path


def test_what_is_sealed_is_read_as_it_was(sealed):
    assert read_sealed(sealed) == SEALED
    assert list(json.loads(sealed.read_text())) == [*SEALED, "content_sha256"]  # plain JSON for everybody else


@given(data=st.data())
def test_any_damaged_byte_is_found_or_changes_nothing(sealed, data):
    content = bytearray(sealed.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    copy = sealed.with_name("copy.json")
    copy.write_bytes(content)
    try:
        assert read_sealed(copy) == SEALED
    except HistobenchError as error:
        assert str(copy) in str(error)
        assert "delete it and start again" in str(error)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b'"text"', b"{}", b"\xff\xfe", b"\0" * 300, b'{"auc": NaN, "content_sha256": ""}'],
)
def test_what_is_no_sealed_json_is_an_error_that_names_the_file(tmp_path, content):
    (tmp_path / "run.json").write_bytes(content)
    with pytest.raises(HistobenchError, match=r"run\.json: expected JSON with its digest"):
        read_sealed(tmp_path / "run.json")


def test_a_file_that_is_cut_or_gone_is_an_error_that_names_it(sealed, tmp_path):
    (tmp_path / "run.json").write_bytes(sealed.read_bytes()[:-20])
    for name in ("run.json", "gone.json"):
        with pytest.raises(HistobenchError, match=rf"{name}: expected JSON with its digest"):
            read_sealed(tmp_path / name)


def test_a_table_is_plain_text_and_its_digest_lies_beside_it(tmp_path):
    write_with_digest(tmp_path / "scores.csv", "patch,score\na,0.5\n")
    assert unchanged(tmp_path / "scores.csv").read_text() == "patch,score\na,0.5\n"
    assert {path.name for path in tmp_path.iterdir()} == {"scores.csv", ".scores.csv.sha256"}


@pytest.mark.parametrize(
    "content", [b"", b"patch,score\na,0.6\n", b"patch,score\n", b"patch,score\na,0.5\nb,0.5\n", b"\xff"]
)
@pytest.mark.parametrize("name", ["scores.csv", ".scores.csv.sha256"])
def test_a_table_that_is_not_what_was_written_is_refused(tmp_path, name, content):
    write_with_digest(tmp_path / "scores.csv", "patch,score\na,0.5\n")
    (tmp_path / name).write_bytes(content)
    with pytest.raises(
        HistobenchError, match=r"scores\.csv: expected the sha256 that \.scores\.csv\.sha256 tells, .*anew"
    ):
        unchanged(tmp_path / "scores.csv")


def test_a_table_without_a_digest_is_taken_as_it_is_and_one_that_is_gone_is_named(tmp_path):
    (tmp_path / "scores.csv").write_text("of one's own")
    assert unchanged(tmp_path / "scores.csv").read_text() == "of one's own"
    with pytest.raises(HistobenchError, match=r"gone\.csv: expected a file that its job has written"):
        unchanged(tmp_path / "gone.csv")
