"""Find OpenWhisk's host and key: on the command line, else in the properties that `wsk` keeps.

They are lines `NAME=value` in `~/.wskprops`, or in the file that `WSK_CONFIG_FILE` names; those
read are `APIHOST`, `AUTH`, `NAMESPACE`, `APIVERSION`, `CERT` and `KEY`.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from builder.base.errors import BuildError, UsageError

SET_UP = "wsk property set --apihost HOST --auth KEY"


@dataclass(frozen=True)
class Host:
    """An OpenWhisk, and the key for it.

    Attributes:
        url: of the API host, as "https://openwhisk.example:8443"; without a path.
        auth: "user:password", as `wsk property get --auth` shows it; never printed.
        namespace: whose actions; "_" for the key's own.
        version: of the API, a part of its paths.
        insecure: whether the host's certificate is not verified.
        certificate: files of a client certificate and its key, if the host needs one.
        source: the origin of the key, for messages.
    """

    url: str
    auth: str = field(repr=False)
    namespace: str = "_"
    version: str = "v1"
    insecure: bool = False
    certificate: tuple[str, str] | None = None
    source: str = ""


def find_host(apihost: str = "", auth: str = "", insecure: bool = False) -> Host:
    """Return the host to deploy to.

    Args:
        apihost: a host, a host and a port, or an address; empty to take the file's.
        auth: a key; empty to take the file's.
        insecure: do not verify the host's certificate.

    Raises:
        UsageError: the host or the key is missing or malformed.
        BuildError: the properties cannot be read.
    """
    path = properties_file()
    properties = read_properties(path)
    apihost = apihost or properties.get("APIHOST", "")
    key = auth or properties.get("AUTH", "")
    if not apihost:
        raise UsageError(
            f"expected an API host, found none (APIHOST in {path})",
            f"pass --apihost HOST, or set it once: {SET_UP}",
        )
    if not key:
        raise UsageError(
            f"expected a key for {apihost}, found none (AUTH in {path})",
            f"pass --auth KEY, or set it once: {SET_UP}",
        )
    user, colon, password = key.partition(":")
    if not (user and colon and password) or not key.isascii() or not key.isprintable():
        raise UsageError(
            "--auth: expected USER:PASSWORD in plain characters, found something else",
            "'wsk property get --auth' shows the key of an installed wsk",
        )
    files = properties.get("CERT", ""), properties.get("KEY", "")
    return Host(
        address(apihost),
        key,
        properties.get("NAMESPACE") or "_",
        properties.get("APIVERSION") or "v1",
        insecure,
        files if all(files) else None,
        "--auth" if auth else str(path),
    )


def address(apihost: str) -> str:
    """Return the address of an API host, with https if it has no scheme.

    Raises:
        UsageError: it is no host, or has a path or a key in it.
    """
    text = apihost if "://" in apihost else f"https://{apihost}"
    try:
        parts = urlsplit(text)
        named = re.fullmatch(r"[\w.:-]+", parts.hostname or "")
        usable = parts.scheme in ("http", "https") and named and parts.port != 0
    except ValueError:  # a port that is no number
        usable = False
    if not usable or parts.path.rstrip("/") not in ("", "/api") or parts.query or parts.username:
        raise UsageError(
            f"--apihost: expected a host such as openwhisk.example:8443, found {apihost!r}",
            "give the host alone, or with https:// before it",
        )
    return f"{parts.scheme}://{parts.netloc}"


def properties_file() -> Path:
    """Return the path of the properties that `wsk` keeps."""
    named = os.environ.get("WSK_CONFIG_FILE")
    return Path(named) if named else Path("~/.wskprops").expanduser()


def read_properties(path: Path) -> dict[str, str]:
    """Return the properties in a file; none if there is no file.

    Raises:
        BuildError: it cannot be read.
    """
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise BuildError(
            f"cannot read {path}: {reason}",
            "fix the file, name another with WSK_CONFIG_FILE, or pass --apihost and --auth",
        ) from error
    properties = {}
    for line in text.splitlines():
        name, equals, value = line.partition("=")
        if equals and not name.lstrip().startswith("#"):
            properties[name.strip().upper()] = value.strip().strip("\"'")
    return properties
