"""Parts of an answer that all handlers need: its type, errors, the process's memory."""

import os

from action.request import ActionError

TYPE_CHECKING = False  # the module `typing` takes longer to import than all of this
if TYPE_CHECKING:
    from typing import Any

    Answer = dict[str, Any]
else:
    Answer = dict

_INTERNAL = "internal error: the picture could not be classified; the activation's log says why"


def error_answer(error: Exception) -> Answer:
    """Return the answer for an error: its text if the client can fix it, else a general one.

    The traceback of an unexpected error goes to the log.
    """
    if isinstance(error, ActionError):
        return {"error": str(error)}
    import traceback  # takes longer to import than the function itself

    traceback.print_exception(error)
    return {"error": _INTERNAL}


def rss_megabytes() -> float:
    """Return this process's resident memory in MB (10^6 bytes)."""
    with open("/proc/self/statm", "rb") as file:
        pages = int(file.read().split()[1])
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 1e6, 1)
