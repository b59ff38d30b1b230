"""Load the function of the last build on this machine."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from action.activation import Handler
from action.bootstrap import PACKED_ZIP, IncompatibleError, install_importer
from action.request import ActionError

# The folder of `build_zip.py --work`.
WORK = os.environ.get("CLASSIFY_WORK") or Path(__file__).resolve().parent.parent
BUILT = Path(WORK) / "build" / "local"
_RUNNING = "{}.{}".format(*sys.version_info)


def load_handler() -> Handler:
    """Load the function of the last build for this Python; raise ActionError if none runs here."""
    folders = [path.parent.name for path in BUILT.glob(f"*/{PACKED_ZIP}")]
    built = [name for name in folders if name.replace(".", "").isdigit()]
    if not built:
        raise ActionError("nothing is built yet: run  python3 build_zip.py")
    if _RUNNING not in built:
        version = max(built, key=lambda version: [*map(int, version.split("."))])
        raise ActionError(
            f"the last build is for Python {version}, this is {_RUNNING}: run  "
            f"python{version} -m action  or  python3 build_zip.py --python {_RUNNING}"
        )
    # The interpreter prints lines like "INFO: ...", which do not belong on a terminal.
    with silent_stderr():
        try:
            return Handler(install_importer(str(BUILT / _RUNNING), own=False))
        except IncompatibleError as error:
            raise ActionError(str(error)) from None
        except Exception as error:
            text = f"the function could not start: {type(error).__name__}: {error}"
            raise ActionError(text) from error


@contextmanager
def silent_stderr() -> Iterator[None]:
    """Drop standard error within the block, native code's too."""
    sys.stderr.flush()
    saved = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(saved, 2)
        os.close(saved)
