"""The action of the inference suite: each activation is one inference of the model alone.

The environment variable MODEL names the model, PACKAGES the folder with the interpreter and numpy.
Activations run on the same picture and answer with milliseconds.
"""

import json
import os
import sys
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), os.environ["PACKAGES"]]

import numpy as np  # noqa: E402 (the path has to be there first)
from interpreters import load_model  # type: ignore[import-not-found]  # noqa: E402

infer, shape, dtype = load_model(os.environ["MODEL"])
picture = (np.arange(np.prod(shape)) * 7919 % 256).reshape(shape).astype(dtype)
for _ in range(3):
    infer(picture)
with os.fdopen(3, "w") as answers:
    print(json.dumps({"ok": True}), file=answers, flush=True)
    for _line in sys.stdin:
        began = time.perf_counter()
        infer(picture)
        print(json.dumps({"ms": (time.perf_counter() - began) * 1000}), file=answers, flush=True)
