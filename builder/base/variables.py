"""The environment of what the tool starts: without what would decide where things go.

A variable or a line of a pip.conf that is right for the user's own work (PYTHONPATH, PIP_TARGET,
`require-virtualenv`) would put our packages elsewhere, or mix in others. What says how the network
is reached stays: the package index, proxies, certificates. Standard library only.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from builder.base.errors import BuildError
from builder.base.files import last_lines
from builder.base.paths import ENVIRONMENTS

_PYTHON_KEPT = {
    *("PYTHONIOENCODING", "PYTHONUTF8", "PYTHONCOERCECLOCALE", "PYTHONUNBUFFERED"),
    "PYTHONPYCACHEPREFIX",
}
"""Of Python's variables: in which letters we talk to the terminal, and where code is cached."""

NO_BYTECODE = "PYTHONDONTWRITEBYTECODE"
BYTECODE_CACHE = ENVIRONMENTS / "code"
"""Where Python's code files go for those who want none beside the sources, as many images do.

To compile all that a build imports, each time, takes a quarter as long as the build itself.
"""

_DECIDE_PLACES = {
    *("CPATH", "C_INCLUDE_PATH", "CPLUS_INCLUDE_PATH", "LIBRARY_PATH", "LD_RUN_PATH"),
    *("COMPILER_PATH", "GCC_EXEC_PREFIX", "PKG_CONFIG_PATH", "PKG_CONFIG_LIBDIR"),
    *("PKG_CONFIG_SYSROOT_DIR", "DESTDIR", "MAKEFLAGS", "NINJA_STATUS", "TAR_OPTIONS"),
    *("POSIXLY_CORRECT", "CDPATH", "BASH_ENV", "VIRTUAL_ENV", "__PYVENV_LAUNCHER__"),
    "SETUPTOOLS_USE_DISTUTILS",
}
"""What compilers, linkers and install steps read: where from and where to."""

_PIP_KEPT = {
    "index-url",
    "extra-index-url",
    "find-links",
    "no-index",
    "trusted-host",
    "proxy",
    "cert",
    "client-cert",
    "timeout",
    "default-timeout",
    "retries",
    "resume-retries",
    "cache-dir",
    "no-cache-dir",
    "keyring-provider",
}
"""Of pip's settings: how a package is reached, not where it goes or which one it is."""


_TO_ASK = {f"PIP_{name}": "0" for name in ("QUIET", "VERBOSE", "USER", "GLOBAL", "SITE")}
"""What a pip.conf may say for all commands, and would change what `pip config list` lists."""


def neutral_variables(variables: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment (by default ours) without what decides where Python or a compiler looks."""
    given = os.environ if variables is None else variables
    kept = {
        name: value
        for name, value in given.items()
        if name not in _DECIDE_PLACES and (name in _PYTHON_KEPT or not name.startswith("PYTHON"))
    }
    if given.get(NO_BYTECODE):
        kept.setdefault("PYTHONPYCACHEPREFIX", str(BYTECODE_CACHE))
    return kept


def without_pip_settings() -> dict[str, str]:
    """The neutral environment for a pip that is asked what it is: of settings it has none."""
    return {**_without_pip_variables(neutral_variables()), "PIP_CONFIG_FILE": os.devnull}


def _without_pip_variables(variables: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in variables.items() if not name.startswith("PIP_")}


def pip_variables(pip: Sequence[str], cwd: Path) -> dict[str, str]:
    """The environment for a pip: neutral, and of the user's settings only what is kept.

    Args:
        pip: its command.
        cwd: a folder without modules, to ask it in.

    Raises:
        BuildError: pip does not run, or cannot read its settings.
    """
    clean = neutral_variables()
    without = _without_pip_variables(clean)
    settings = dict(_from_files(pip, cwd, clean.get("PIP_CONFIG_FILE"), without))
    for name, value in clean.items():
        key = name[4:].lower().replace("_", "-")
        if name.startswith("PIP_") and key in _PIP_KEPT and value:
            settings[key] = value
    kept = {f"PIP_{key.upper().replace('-', '_')}": value for key, value in settings.items()}
    return {**without, "PIP_CONFIG_FILE": os.devnull, **kept}


def _from_files(
    pip: Sequence[str], cwd: Path, file: str | None, variables: Mapping[str, str]
) -> dict[str, str]:
    """What pip's own files say of the settings that are kept."""
    if file == os.devnull:  # how pip is told to read none
        return {}
    asked = subprocess.run(
        [*pip, "config", "list", "--disable-pip-version-check"],
        env={**variables, **_TO_ASK, **({"PIP_CONFIG_FILE": file} if file else {})},
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    if asked.returncode:
        raise BuildError(
            f"pip cannot read its settings:\n{last_lines(asked.stdout)}",
            "mend what it names: a pip.conf, or the file in PIP_CONFIG_FILE",
        )
    found: dict[str, str] = {}
    lines = re.findall(r"^(global|install|download)\.([a-z-]+)=(['\"].*)$", asked.stdout, re.M)
    # What is under [global] is set first; a command's own section overrides it.
    for _, key, value in sorted(lines, key=lambda line: line[0] != "global"):
        if key in _PIP_KEPT:
            found[key] = " ".join(str(ast.literal_eval(value)).split())
    return {key: value for key, value in found.items() if value}
