"""Import packages from the environment of `build_zip.py`, such as urllib3 and waitress."""

import sys
from importlib.util import find_spec
from pathlib import Path

from action.request import ActionError


def add_tool_packages(needed: str) -> None:
    """Import from that environment first, which is made by this Python if it is not there yet.

    Args:
        needed: a package. If this Python is in such an environment, and has it, nothing changes.

    Raises:
        ActionError: the environment cannot be made.
    """
    from builder.base import environments, errors, paths

    if Path(sys.prefix).parent == paths.ENVIRONMENTS and find_spec(needed):
        return
    try:
        requirements = paths.BUILDER / "requirements.txt"
        python = environments.ensure_environment("tools", requirements)
    except errors.BuildError as error:
        text = " ".join(str(error).split())  # pip's has lines
        raise ActionError(f"{text}; {error.hint}") from None
    sys.path[:0] = map(str, python.parent.parent.glob("lib/python*/site-packages"))
