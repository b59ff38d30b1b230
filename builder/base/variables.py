"""Environment variables for the programs that the builder starts.

A variable that suits the user's own work (PYTHONPATH, PIP_TARGET) would put our packages elsewhere,
or mix in others. Of pip's, only what says how the index is reached is passed on. Standard library
only.
"""

import os

# Python's variables for text encoding, buffering and the bytecode cache.
_PYTHON_KEPT = {
    *("PYTHONIOENCODING", "PYTHONUTF8", "PYTHONCOERCECLOCALE", "PYTHONUNBUFFERED"),
    "PYTHONPYCACHEPREFIX",
}
# pip's variables for the index, proxy, certificates, timeouts and pip's own cache.
_PIP_KEPT = {
    *("PIP_CONFIG_FILE", "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_NO_INDEX"),
    *("PIP_TRUSTED_HOST", "PIP_KEYRING_PROVIDER", "PIP_PROXY", "PIP_CERT", "PIP_CLIENT_CERT"),
    *("PIP_TIMEOUT", "PIP_DEFAULT_TIMEOUT", "PIP_RETRIES", "PIP_CACHE_DIR", "PIP_NO_CACHE_DIR"),
}
# Search paths and targets of compilers, linkers and install steps.
_REMOVED = {
    *("CPATH", "C_INCLUDE_PATH", "CPLUS_INCLUDE_PATH", "LIBRARY_PATH", "LD_RUN_PATH"),
    *("COMPILER_PATH", "GCC_EXEC_PREFIX", "PKG_CONFIG_PATH", "PKG_CONFIG_LIBDIR"),
    *("PKG_CONFIG_SYSROOT_DIR", "DESTDIR", "MAKEFLAGS", "NINJA_STATUS", "TAR_OPTIONS"),
    *("POSIXLY_CORRECT", "CDPATH", "BASH_ENV", "VIRTUAL_ENV", "__PYVENV_LAUNCHER__"),
    "SETUPTOOLS_USE_DISTUTILS",
}


def neutral_variables() -> dict[str, str]:
    """Return this process's variables without search paths of Python, pip and compilers.

    PYTHONDONTWRITEBYTECODE, which many images set, is left out too: to compile all that a build
    imports, each time, takes a quarter as long as the build itself.
    """
    return {
        name: value
        for name, value in os.environ.items()
        if name in _PYTHON_KEPT | _PIP_KEPT
        or (name not in _REMOVED and not name.startswith(("PYTHON", "PIP_")))
    }
