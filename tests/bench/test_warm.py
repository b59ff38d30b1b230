"""The warm suite and its pictures, with actions of a few lines in real processes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from bench.measure.activation import Pictures, load_pictures
from bench.measure.warm import choose_interval, measure_warm
from bench.peers.peer import Peer
from builder.artifact.smoke import SAMPLE
from builder.base.errors import BuildError
from tests.support.runs import empty_run

DIES = """\
count = 0
def main(params):
  global count
  count += 1
  if count > LIMIT:
    import os
    os._exit(7)
  return {'results': [{}]}
"""


def test_slow_peers_join_every_third_round(make_peer: Callable[[str, str], Peer]) -> None:
    """Two pictures: every second round would always send the same one."""
    slow = make_peer("slow", "import time\ndef main(_):\n  time.sleep(0.21)\n  return {}\n")
    quick = make_peer("quick", "def main(_): return {}\n")
    with slow.launched() as first, quick.launched() as second:
        assert choose_interval(first, b"", pictures=2) == 3
        assert choose_interval(second, b"", pictures=2) == 1


def test_dead_peer_leaves_and_others_go_on(make_peer: Callable[[str, str], Peer]) -> None:
    peers = [
        make_peer(name, DIES.replace("LIMIT", limit))
        for name, limit in (("dies", "5"), ("lives", "999"))
    ]
    run, left = empty_run(), [1.0, 1.0]

    def infer() -> float:
        if not left:
            raise BuildError("it died")
        return left.pop()

    measure_warm(peers, infer, Pictures({"a": b""}, {}), 6, run, lambda _: None)
    # Three trial activations come before the rounds.
    counts = {name: len(each.ms) for name, each in run.warm.items()}
    assert counts == {"bare interpreter": 2, "dies": 2, "lives": 6}
    assert {*run.problems} == {"warm, bare interpreter", "warm, dies"}
    assert "exit status 7" in run.problems["warm, dies"]
    assert "lives" in run.memory


def test_folder_without_pictures_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="expected a folder with JPEGs, found none"):
        load_pictures(tmp_path, None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name\tclass\nother.jpg\t3\n", "expected names of files"),
        ("name\tclass\na.jpg\tespresso\n", "expected a TSV"),
        ("name\tclass\na.jpg\n", "expected a TSV"),
    ],
)
def test_malformed_labels_are_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.jpg").write_bytes(SAMPLE.read_bytes())
    (tmp_path / "labels.tsv").write_text(text)
    with pytest.raises(BuildError, match=message):
        load_pictures(tmp_path, tmp_path / "labels.tsv")


def test_labels_belong_to_pictures(tmp_path: Path) -> None:
    for name in ("a.jpg", "b.JPEG", "c.png"):
        (tmp_path / name).write_bytes(name.encode())
    (tmp_path / "labels.tsv").write_text("name\tclass\nb.JPEG\t7\n\n")
    pictures = load_pictures(tmp_path, tmp_path / "labels.tsv")
    assert pictures == Pictures({"a.jpg": b"a.jpg", "b.JPEG": b"b.JPEG"}, {"b.JPEG": 7})
