"""The function: a picture in, ranked classes out. All that is here ships, and nothing else."""

import sys

__version__ = "0.2.0"

# Python 2 has "-c" here where Python 3 has "-m".
if sys.version_info < (3, 10) and sys.argv[:1] in (["-m"], ["-c"]):
    # Checked here, since an older Python may not parse __main__.py. In a zip, bootstrap.py checks.
    text = "expected Python 3.10 or newer, found {}.{}: try  python3 -m action\n"
    sys.stderr.write(text.format(*sys.version_info))
    sys.exit(2)
