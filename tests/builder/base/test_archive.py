"""The zip as a file: the same bytes for the same contents, readable by tools and the function."""

from __future__ import annotations

import shutil
import stat
import subprocess
import zipfile
from pathlib import Path

import pytest

from action.bootstrap import PackedZip, run_in_background
from builder.base.archive import DATE, Entry, compress, read_zip, write_zip

LARGE = bytes(range(256)) * 4000
ENTRIES = [
    Entry("noise", bytes((i * i * 7919 >> 7) % 256 for i in range(5000)), "action"),
    Entry("__main__.py", b"def main(params): return params\n", "action", outside=True),
    Entry("empty", b"", "action", outside=True),
    Entry("large", LARGE, "action", compressed=compress(LARGE)),
]


def test_written_zip_has_one_form_and_can_be_read(tmp_path: Path) -> None:
    for name, entries in (("a.zip", ENTRIES), ("b.zip", ENTRIES[::-1])):
        write_zip(entries, tmp_path / name)
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "a.zip") as outer:
        assert outer.testzip() is None
        assert outer.namelist() == ["__main__.py", "empty", "packed.zip"]
        assert outer.getinfo("packed.zip").compress_type == zipfile.ZIP_STORED
    contents = read_zip(tmp_path / "a.zip")
    assert contents.canonical
    assert contents.files == {entry.path: entry.content for entry in ENTRIES}
    assert contents.outside == ["__main__.py", "empty", "packed.zip"]
    infos = {info.filename: info for info in contents.infos}
    assert infos.keys() == contents.files.keys()
    assert infos["large"].compress_size < 5000
    for info in contents.infos:
        is_large = info.filename == "large"
        assert info.compress_type == (zipfile.ZIP_DEFLATED if is_large else zipfile.ZIP_STORED)
        assert info.date_time == DATE
        assert stat.S_IMODE(info.external_attr >> 16) == 0o644
    if shutil.which("unzip"):
        tested = subprocess.run(["unzip", "-tq", str(tmp_path / "a.zip")], capture_output=True)
        assert tested.returncode == 0, tested.stdout


def test_function_reads_the_packed_zip(tmp_path: Path) -> None:
    """Read files by the function's own code, also extracted, whether or not by a thread."""
    write_zip(ENTRIES, tmp_path / "a.zip")
    shutil.unpack_archive(tmp_path / "a.zip", tmp_path)
    packed = PackedZip(str(tmp_path))
    contents = {entry.path: entry.content for entry in ENTRIES if not entry.outside}
    assert packed.members.keys() == contents.keys()
    assert {name: packed.read(name) for name in contents} == contents
    run_in_background(packed.extract, ["large", "nothing", "noise"])
    assert Path(packed.extract("noise")).read_bytes() == contents["noise"]
    for _ in range(2):
        with pytest.raises(FileNotFoundError, match=r"nothing is not in packed\.zip"):
            packed.extract("nothing")
        assert Path(packed.extract("large")).read_bytes() == contents["large"]
    (tmp_path / "large").write_bytes(b"half of it")  # by a process that was killed
    started_again = PackedZip(str(tmp_path))
    assert Path(started_again.extract("large")).read_bytes() == contents["large"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "__main__.py", "a.zip", "empty", "large", "noise", "packed.zip",
    ]  # fmt: skip


@pytest.mark.parametrize("share", [0.0, 0.0001, 0.5, 0.9, 0.999])
def test_function_refuses_a_truncated_packed_zip(tmp_path: Path, share: float) -> None:
    write_zip(ENTRIES, tmp_path / "a.zip")
    with zipfile.ZipFile(tmp_path / "a.zip") as outer:
        content = outer.read("packed.zip")
    (tmp_path / "packed.zip").write_bytes(content[: int(len(content) * share)])
    with pytest.raises(ValueError, match="truncated"):
        PackedZip(str(tmp_path))
