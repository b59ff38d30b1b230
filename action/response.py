"""What answers are made of: plain Python values only."""

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
    """What the client sees of an error: its text if it can mend it, else only that it happened."""
    if isinstance(error, ActionError):
        return {"error": str(error)}
    import traceback  # takes longer to import than the function itself

    traceback.print_exception(error)
    return {"error": _INTERNAL}


def rss_megabytes() -> float:
    """Resident memory of this process in MB (10^6 bytes); 0 where there is no /proc."""
    try:
        with open("/proc/self/statm", "rb") as file:
            pages = int(file.read().split()[1])
    except OSError:
        return 0.0
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 1e6, 1)
