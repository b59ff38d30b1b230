"""Build the zip: `python3 build_zip.py`. Needs nothing but Python 3.10 or newer and a network.

Any older Python can read this file too, to say so; the command line is builder/cli.py.
"""

import os
import sys

if sys.version_info < (3, 10):  # noqa: UP036
    text = "expected Python 3.10 or newer, found {}.{}: try  python3 build_zip.py\n"
    sys.stderr.write(text.format(*sys.version_info))
    sys.exit(2)
if sys.platform == "win32":
    sys.exit("expected Linux or macOS, found Windows: use its subsystem for Linux (WSL)")

# Python's -P and -I, or PYTHONSAFEPATH, leave out the folder of this file.
sys.path[:0] = [os.path.dirname(os.path.abspath(__file__))]

from builder.cli import main  # noqa: E402 (the path has to be there first)

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
