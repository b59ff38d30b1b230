"""Environment variables for the programs that the builder starts.

A variable or a pip.conf that suits the user's own work (PYTHONPATH, PIP_TARGET) would put our
packages elsewhere, or mix in others. Only what says how the network is reached is passed on.
Standard library only.
"""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from builder.base.errors import BuildError
from builder.base.paths import ENVIRONMENTS
from builder.base.processes import last_lines, run_command

# Python's variables for text encoding, buffering and the bytecode cache.
_PYTHON_KEPT = {
    *("PYTHONIOENCODING", "PYTHONUTF8", "PYTHONCOERCECLOCALE", "PYTHONUNBUFFERED"),
    "PYTHONPYCACHEPREFIX",
}
NO_BYTECODE = "PYTHONDONTWRITEBYTECODE"
# Bytecode for users who want none beside the sources, as many images do: compiling all that a
# build imports, each time, takes a quarter as long as the build itself.
BYTECODE_CACHE = ENVIRONMENTS / "code"

# Search paths and targets of compilers, linkers and install steps.
_REMOVED = {
    *("CPATH", "C_INCLUDE_PATH", "CPLUS_INCLUDE_PATH", "LIBRARY_PATH", "LD_RUN_PATH"),
    *("COMPILER_PATH", "GCC_EXEC_PREFIX", "PKG_CONFIG_PATH", "PKG_CONFIG_LIBDIR"),
    *("PKG_CONFIG_SYSROOT_DIR", "DESTDIR", "MAKEFLAGS", "NINJA_STATUS", "TAR_OPTIONS"),
    *("POSIXLY_CORRECT", "CDPATH", "BASH_ENV", "VIRTUAL_ENV", "__PYVENV_LAUNCHER__"),
    "SETUPTOOLS_USE_DISTUTILS",
}

# pip's settings for the index, proxy, certificates, timeouts and pip's own cache, each with its
# variable.
_PIP_KEPT = {
    setting: f"PIP_{setting.upper().replace('-', '_')}"
    for setting in (
        *("index-url", "extra-index-url", "find-links", "no-index", "trusted-host"),
        *("keyring-provider", "proxy", "cert", "client-cert"),
        *("timeout", "default-timeout", "retries", "cache-dir", "no-cache-dir"),
    )
}
# Sections of `pip config list`; the later ones override the earlier ones.
_PIP_SECTIONS = ("global", "install", "download", ":env:")
# Settings of a pip.conf that would narrow down what `pip config list` prints.
_LIST_ALL = {f"PIP_{name}": "0" for name in ("QUIET", "USER", "GLOBAL", "SITE")}


def neutral_variables(variables: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the variables (default: ours) without search paths of Python and compilers."""
    given = os.environ if variables is None else variables
    kept = {
        name: value
        for name, value in given.items()
        if name not in _REMOVED and (name in _PYTHON_KEPT or not name.startswith("PYTHON"))
    }
    if given.get(NO_BYTECODE):
        kept.setdefault("PYTHONPYCACHEPREFIX", str(BYTECODE_CACHE))
    return kept


def unconfigured_pip_variables() -> dict[str, str]:
    """Return neutral variables for a pip without any of the user's settings."""
    kept = {n: value for n, value in neutral_variables().items() if not n.startswith("PIP_")}
    return {**kept, "PIP_CONFIG_FILE": os.devnull}


def pip_variables(pip: Sequence[str], cwd: Path) -> dict[str, str]:
    """Return neutral variables for a pip, with the user's settings that reach the index.

    `cwd` is a folder without modules, to run it in.

    Raises:
        BuildError: pip does not run, or cannot read its settings.
    """
    passed = {*_PIP_KEPT.values(), "PIP_CONFIG_FILE"}
    kept = {
        name: value
        for name, value in neutral_variables().items()
        if name in passed or not name.startswith("PIP_")
    }
    command = [*pip, "config", "list", "--disable-pip-version-check"]
    status, listed = run_command(command, cwd=cwd, env={**kept, **_LIST_ALL})
    if status:
        raise BuildError(
            f"pip cannot read its settings:\n{last_lines(listed)}",
            "fix the file that it names: a pip.conf, or the one in PIP_CONFIG_FILE",
        )
    settings = unconfigured_pip_variables()
    for section in _PIP_SECTIONS:
        for key, value in re.findall(rf"^{section}\.([a-z-]+)=(['\"].*)$", listed, re.MULTILINE):
            if key in _PIP_KEPT and value != "''":
                settings[_PIP_KEPT[key]] = " ".join(str(ast.literal_eval(value)).split())
    return settings
