"""The function on this machine: the packages and the model of the last zip that was built."""

import os
import sys
from contextlib import suppress
from pathlib import Path

from action.activation import Handler
from action.bootstrap import PACKED_ZIP, IncompatibleError, install_importer
from client.quiet import silenced

WORK = os.environ.get("CLASSIFY_WORK") or Path(__file__).resolve().parent.parent
"""As `build_zip.py --work` has it."""
BUILT = Path(WORK) / "build" / "local"
_RUNNING = "{}.{}".format(*sys.version_info)


def handler() -> Handler | str:
    """The handler of the last build for this Python, or why there is none."""
    folders = [path.parent.name for path in BUILT.glob(f"*/{PACKED_ZIP}")]
    built = [name for name in folders if name.replace(".", "").isdigit()]
    if not built:
        return "nothing is built yet: run  python build_zip.py"
    if _RUNNING not in built:
        version = max(built, key=lambda version: [*map(int, version.split("."))])
        return (
            f"the last build is for Python {version}, this is {_RUNNING}: run  "
            f"python{version} -m action  or  python build_zip.py --python {_RUNNING}"
        )
    # The interpreter's own chatter ("INFO: ...") is for logs, not for a terminal.
    with silenced():
        try:
            return Handler(install_importer(str(BUILT / _RUNNING), own=False))
        except IncompatibleError as error:
            return str(error)
        except Exception as error:
            return f"the function could not start: {type(error).__name__}: {error}"


def use_packages() -> None:
    """Import Pillow and numpy from the last build, if there is one that runs here."""
    if (BUILT / _RUNNING / PACKED_ZIP).exists() and not sys.modules.keys() & {"PIL", "numpy"}:
        with suppress(IncompatibleError, OSError, ValueError):
            install_importer(str(BUILT / _RUNNING), own=False)
