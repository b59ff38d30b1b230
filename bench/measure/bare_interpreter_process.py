"""The process of a bare interpreter: it speaks the actions' protocol, without an action.

The environment variable MODEL names the model, PACKAGES the folder with the interpreter and numpy,
THREADS how many threads it uses. A message runs one inference, always on the same picture, and is
answered with its milliseconds. One with `seconds` runs inferences for so long; it is answered with
the milliseconds of all, and with the resident memory.
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parent), os.environ["PACKAGES"]]

import numpy as np  # noqa: E402 (the path has to be there first)
from interpreters import load_model  # type: ignore[import-not-found]  # noqa: E402

infer, shape, dtype = load_model(os.environ["MODEL"], int(os.environ["THREADS"]))
picture = (np.arange(np.prod(shape)) * 7919 % 256).reshape(shape).astype(dtype)


def time_inference() -> float:
    """Return the milliseconds of one inference."""
    began = time.perf_counter()
    infer(picture)
    return (time.perf_counter() - began) * 1000


def run_for(seconds: float) -> dict[str, Any]:
    """Run inferences for some seconds; return their milliseconds and the resident memory."""
    end = time.perf_counter() + seconds
    times = []
    while time.perf_counter() < end:
        times.append(time_inference())
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return {"times": times, "megabytes": pages * os.sysconf("SC_PAGESIZE") / 1e6}


for _ in range(3):
    infer(picture)
with os.fdopen(3, "w") as answers:
    print(json.dumps({"ok": True}), file=answers, flush=True)
    for line in sys.stdin:
        seconds = json.loads(line).get("seconds")
        answer = run_for(seconds) if seconds else {"ms": time_inference()}
        print(json.dumps(answer), file=answers, flush=True)
