"""Find OpenWhisk's host and key as `wsk` does: options, then the environment, then properties.

Properties are lines `NAME=value` in `~/.wskprops`, or in the file that `WSK_CONFIG_FILE` names:
`APIHOST`, `AUTH` and `APIVERSION`. The variables are called `WHISK_APIHOST` and so on.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from builder.base.console import Console
from builder.base.errors import UsageError


@dataclass(frozen=True)
class Host:
    """An OpenWhisk, and the key for it.

    Attributes:
        url: of the API host, as "https://openwhisk.example:8443"; without a path.
        auth: "user:password", as `wsk property get --auth` shows it; never printed.
        version: of the API, a part of its paths.
        insecure: whether the host's certificate is not verified.
        ca: file of the certificates to verify it with; empty for the system's.
        source: the origin of the key, for messages.
    """

    url: str
    auth: str = field(repr=False)
    version: str = "v1"
    insecure: bool = False
    ca: str = ""
    source: str = ""


def find_host(
    console: Console, apihost: str = "", auth: str = "", insecure: bool = False, ca: str = ""
) -> Host:
    """Return the host to deploy to, and warn of what others can see.

    `apihost`, `auth` and the rest are as for the options.

    Raises:
        UsageError: the host or the key is missing or malformed.
        OSError: the properties cannot be read.
    """
    named = os.environ.get("WSK_CONFIG_FILE")
    path = Path("~/.wskprops").expanduser() if named is None else Path(named or os.devnull)
    properties = _read_properties(path)
    apihost = apihost or os.environ.get("WHISK_APIHOST") or properties.get("APIHOST", "")
    version = os.environ.get("WHISK_APIVERSION") or properties.get("APIVERSION") or "v1"
    keys = {
        "--auth": read_secret("--auth", auth, console),
        "WHISK_AUTH": os.environ.get("WHISK_AUTH", ""),
        str(path): properties.get("AUTH", ""),
    }
    source, key = next(((name, key) for name, key in keys.items() if key), ("", ""))
    if not apihost or not key:
        what = f"a key for {apihost}" if apihost else "an API host"
        raise UsageError(
            f"expected {what}, found none in {path} or the environment",
            "pass --apihost HOST and --auth @FILE, or set them once: wsk property set --apihost "
            "HOST --auth KEY. wsk reads lines NAME=value, without spaces around =, other = or #",
        )
    user, colon, password = key.partition(":")
    if not (user and colon and password) or not key.isascii() or not key.isprintable():
        raise UsageError(
            f"{source}: expected USER:PASSWORD in plain characters, found something else",
            "'wsk property get --auth' shows the key of an installed wsk",
        )
    url = address(apihost)
    if insecure:
        console.warn("--insecure: the host's certificate is not verified")
    if url.startswith("http:"):
        console.note("http: the key and the pictures travel in the clear")
    return Host(url, key, version, insecure, ca, source)


def read_secret(option: str, given: str, console: Console) -> str:
    """Return the secret that an option gives as @FILE, as env:NAME or, with a warning, as it is.

    Raises:
        UsageError: there is no such file or variable, or it is empty.
    """
    try:
        if given.startswith("@"):
            secret = Path(given[1:]).read_text("utf-8")
        elif given.startswith("env:"):
            secret = os.environ.get(given[4:], "")
        else:
            if given:
                text = "processes here can read the secret; @FILE or env:NAME hides it"
                console.warn(f"{option}: {text}")
            return given
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{option}: cannot read {given[1:]}: {error}") from error
    if not secret.strip():
        raise UsageError(f"{option}: expected a secret in {given}, found nothing")
    return secret.strip()


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


def _read_properties(path: Path) -> dict[str, str]:
    """Return the properties in a file, by wsk's grammar; none if there is no file."""
    try:
        text = path.read_text("utf-8", "replace")
    except FileNotFoundError:
        return {}
    lines = (line.partition("#")[0].strip().split("=") for line in text.splitlines())
    return {parts[0]: parts[1] for parts in lines if len(parts) == 2}
