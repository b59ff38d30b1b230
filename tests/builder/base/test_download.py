"""Downloads against a server that breaks off, lies and fails; and the package index through pip."""

from __future__ import annotations

import hashlib
import socket
from pathlib import Path

import pytest

from builder.base import download
from builder.base.console import Console
from builder.base.download import ATTEMPTS, download_file
from builder.base.errors import DownloadError
from builder.base.package_index import IndexFile, download_from_index
from tests.support.index import PackageIndex, wheel
from tests.support.server import File, serving

CONTENT = bytes(range(256)) * 4096
SHA256 = hashlib.sha256(CONTENT).hexdigest()
NO_PAUSE = 0.001


def test_file_is_downloaded_once_unless_it_is_damaged(tmp_path: Path, console: Console) -> None:
    with serving({"/file": File(CONTENT)}) as server:
        for _ in range(2):
            path = download_file(f"{server.url}/file", SHA256, tmp_path / "new" / "file", console)
            assert path.read_bytes() == CONTENT
        assert len(server.requests) == 1  # the second time it was there
        path.write_bytes(CONTENT[:500])
        assert download_file(f"{server.url}/file", SHA256, path, console).read_bytes() == CONTENT


@pytest.mark.parametrize(
    "served", [File(CONTENT, cut_at=[300_000, 700_000]), File(CONTENT, statuses=[503, 0])]
)
def test_difficult_server_is_asked_again(served: File, tmp_path: Path, console: Console) -> None:
    with serving({"/file": served}) as server:
        path = download_file(f"{server.url}/file", SHA256, tmp_path / "file", console, NO_PAUSE)
        assert len(server.requests) == 3
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("served", "limits", "requests", "text"),
    [
        (File(CONTENT[:-1]), {}, 1, f"expected sha256 {SHA256}, found"),
        (File(CONTENT, cut_at=[1000] * 99), {}, ATTEMPTS, f"tried {ATTEMPTS} times"),
        (File(CONTENT), {"MAX_BYTES": len(CONTENT) - 1}, 1, "at most .* bytes, found more"),
        (File(CONTENT), {"TOTAL_SECONDS": -1.0}, 1, "gave up"),
    ],
)
def test_failed_download_leaves_nothing(
    served: File,
    limits: dict[str, float],
    requests: int,
    text: str,
    tmp_path: Path,
    console: Console,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, limit in limits.items():
        monkeypatch.setattr(download, name, limit)
    with serving({"/file": served}) as server:
        with pytest.raises(DownloadError, match=text):
            download_file(f"{server.url}/file", SHA256, tmp_path / "file", console, NO_PAUSE)
        assert len(server.requests) == requests
    assert not list(tmp_path.iterdir())


def test_unreachable_address_is_named_with_the_reason(tmp_path: Path, console: Console) -> None:
    with socket.socket() as unused, serving({}) as server:
        unused.bind(("127.0.0.1", 0))
        for url, reason in (
            (f"{server.url}/gone", "HTTP status 404"),
            (
                f"http://127.0.0.1:{unused.getsockname()[1]}/file",
                r".*: \[Errno 111\] Connection refused$",
            ),
            ("http://no-such-host.invalid/file", ".*Failed to resolve 'no-such-host.invalid'"),
        ):
            with pytest.raises(DownloadError, match=f"could not download {url}: {reason}"):
                download_file(url, SHA256, tmp_path / "file", console)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("sha256", ["", "abc", SHA256.upper(), SHA256 + "0"])
def test_download_without_sha256_is_refused(sha256: str, tmp_path: Path, console: Console) -> None:
    with pytest.raises(ValueError, match="sha256 of 64 hex digits"):
        download_file("http://127.0.0.1:9/x", sha256, tmp_path / "file", console)


def pin(content: bytes) -> IndexFile:
    digest = hashlib.sha256(content).hexdigest()
    return IndexFile("small", "1.0", "small-1.0-py3-none-any.whl", digest)


def test_index_file_is_downloaded_once(
    index: PackageIndex, tmp_path: Path, console: Console
) -> None:
    index.release_wheel("small")
    for _ in range(2):
        [path] = download_from_index([pin(wheel("small"))], tmp_path, console, "3.11", ["any"])
        assert path.read_bytes() == wheel("small")
    assert len(index.requests) == 2
    assert [p.name for p in tmp_path.glob("[!.]*")] == ["small-1.0-py3-none-any.whl"]


@pytest.mark.parametrize("fault", ["wrong hash", "missing", "broken off"])
def test_failed_index_download_is_quoted(
    index: PackageIndex, tmp_path: Path, console: Console, fault: str
) -> None:
    package = pin(wheel("small"))
    if fault != "missing":
        index.release_wheel("small")
    if fault == "wrong hash":
        package = pin(b"another")
    elif fault == "broken off":
        index.served[f"/files/{package.file}"].cut_at = [100] * 99
    with pytest.raises(DownloadError, match="could not download small from the"):
        download_from_index([package], tmp_path, console, "3.11", ["any"])
    assert not list(tmp_path.glob("[!.]*"))
