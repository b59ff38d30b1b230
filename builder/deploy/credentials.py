"""Which OpenWhisk, as whom: from the command line, else from the file that `wsk` keeps.

That file has lines `NAME=value`; of them `APIHOST`, `AUTH`, `NAMESPACE`, `APIVERSION`, `CERT` and
`KEY` count, as for `wsk`. It is `~/.wskprops`, or the one that `WSK_CONFIG_FILE` names.
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
    """An OpenWhisk, and a key for it.

    Attributes:
        url: of the API host, as "https://openwhisk.example:8443"; without a path.
        auth: "user:password", as `wsk property get --auth` shows it; never shown by us.
        namespace: whose actions; "_" for the key's own.
        version: of the API, a part of its paths.
        insecure: whether the host's certificate is not verified.
        certificate: files of a client certificate and its key, where the host wants one.
        source: where the key is from, for messages.
    """

    url: str
    auth: str = field(repr=False)
    namespace: str = "_"
    version: str = "v1"
    insecure: bool = False
    certificate: tuple[str, str] | None = None
    source: str = ""


def host(apihost: str = "", auth: str = "", insecure: bool = False) -> Host:
    """The platform to deploy to.

    Args:
        apihost: a host, a host and a port, or an address; empty to take the file's.
        auth: a key; empty to take the file's.
        insecure: do not verify the host's certificate.

    Raises:
        UsageError: the host or the key is not to be had, or does not look like one.
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
    """The address of an API host, which may be given without a scheme: https then.

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
    """Where `wsk` keeps its properties."""
    named = os.environ.get("WSK_CONFIG_FILE")
    return Path(named) if named else Path("~/.wskprops").expanduser()


def read_properties(path: Path) -> dict[str, str]:
    """The properties in a file; none if it is not there.

    Raises:
        BuildError: it is there and cannot be read.
    """
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise BuildError(
            f"cannot read {path}: {reason}",
            "mend the file, name another by WSK_CONFIG_FILE, or pass --apihost and --auth",
        ) from error
    properties = {}
    for line in text.splitlines():
        name, equals, value = line.partition("=")
        if equals and not name.lstrip().startswith("#"):
            properties[name.strip().upper()] = value.strip().strip("\"'")
    return properties
