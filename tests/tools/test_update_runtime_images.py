"""`python3 -m tools.update images`: Dockerfiles of our own, on loopback."""

from __future__ import annotations

from pathlib import Path

import pytest

from builder.base.errors import BuildError
from builder.base.runtime_images import TABLE
from builder.base.toml import read_toml
from tests.support.server import File, serving
from tools.update.runtime_images import update_images

DOCKERFILE = "FROM python:3\n# ENV OW_EXECUTION_ENV=no\nENV OW_EXECUTION_ENV={env} \\\n  A=b\n"


def test_dockerfiles_are_read_into_the_table(tmp_path: Path) -> None:
    path = tmp_path / "runtime_images.toml"
    files = {"/v311/Dockerfile": File(DOCKERFILE.format(env="own/v3.11.9").encode())}
    with serving(files) as server:
        head = f'[own]  # kept\ndockerfile = "{server.url}/v{{digits}}/Dockerfile"\n'
        text = head + '[own.execution_env]\n"3.11" = "own/v3.11.8"\n'
        path.write_text(text)
        rows = [("own", "3.11", "own/v3.11.8", "own/v3.11.9")]
        assert update_images(path, check=True) == rows
        assert path.read_text() == text
        assert update_images(path, check=False) == rows
        assert path.read_text().startswith(head)
        assert read_toml(path)["own"]["execution_env"] == {"3.11": "own/v3.11.9"}
        del files["/v311/Dockerfile"]
        with pytest.raises(BuildError, match="could not read .*v311"):
            update_images(path, check=True)
        files["/v311/Dockerfile"] = File(b"FROM scratch\n")
        with pytest.raises(BuildError, match="expected a line ENV OW_EXECUTION_ENV"):
            update_images(path, check=True)


def test_addresses_in_the_table_have_a_place_for_the_version() -> None:
    for platform in read_toml(TABLE).values():
        url = platform["dockerfile"]
        assert url.format(python="3.11", digits="311") != url
