"""The function: a picture in, ranked classes out. All that is here ships, and nothing else."""

import sys

__version__ = "0.2.0"

if sys.version_info < (3, 10) and sys.argv[:1] in (["-m"], ["-c"]):  # of Python 2: -c
    # Here, since an older Python may not read __main__.py. In a zip, packages.py says it.
    text = "expected Python 3.10 or newer, found {}.{}: try  python3 -m action\n"
    sys.stderr.write(text.format(*sys.version_info))
    sys.exit(2)
