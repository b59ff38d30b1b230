"""The warm suite: its rounds and pictures."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.pictures import Pictures, load_pictures
from builder.base.errors import BuildError
from tests.support.runs import empty_session


def test_labels_belong_to_pictures(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="expected a folder with JPEGs, found none"):
        load_pictures(tmp_path, None)
    for name in ("a.jpg", "b.JPEG", "c.png"):
        (tmp_path / name).write_bytes(name.encode())
    (tmp_path / "labels.tsv").write_text("name\tclass\nb.JPEG\t7\n\n")
    pictures = load_pictures(tmp_path, tmp_path / "labels.tsv")
    assert pictures == Pictures({"a.jpg": b"a.jpg", "b.JPEG": b"b.JPEG"}, {"b.JPEG": 7})
    for text, message in (("other.jpg\t3", "expected names of files"), ("a.jpg", "expected a TSV")):
        (tmp_path / "labels.tsv").write_text(f"name\tclass\n{text}\n")
        with pytest.raises(BuildError, match=message):
            load_pictures(tmp_path, tmp_path / "labels.tsv")


def test_failing_participant_leaves_and_others_go_on() -> None:
    joined: list[tuple[int, str]] = []
    session = empty_session("warm", 20)

    def fail_in_third_round(number: int) -> None:
        if number == 2:
            raise BuildError("the action died")
        joined.append((number, "fails"))

    participants = {
        "fails": fail_in_third_round,
        "first": lambda number: joined.append((number, "first")),
        "second": lambda number: joined.append((number, "second")),
    }
    session.take_turns("warm", participants)
    assert len([name for _, name in joined if name == "fails"]) == 2
    assert len(joined) == 2 + 2 * 20
    assert session.run.problems == {"warm, fails": "the action died"}
    assert len({name for _, name in joined[-20::2]}) == 2  # the order changes
