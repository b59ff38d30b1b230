"""Byte-compile files for the Python that runs this script (the zip's, not the builder's).

Reads a JSON list of [source, target, name shown in tracebacks] from stdin. The code files are
"unchecked-hash" (PEP 552): OpenWhisk's unzip does not restore dates, so dated ones would be stale.
"""

import json
import py_compile
import sys

for source, target, shown in json.load(sys.stdin):
    try:
        py_compile.compile(
            source,
            cfile=target,
            dfile=shown,
            doraise=True,
            invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
        )
    except py_compile.PyCompileError as error:
        sys.exit(str(error))
