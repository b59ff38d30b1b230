"""Build the zip: `python build_zip.py`. Needs nothing but Python 3.10 or newer and a network.

Any older Python can read this file too, to say so; the command line is builder/command.py.
"""

import sys

if sys.version_info < (3, 10):  # noqa: UP036
    text = "expected Python 3.10 or newer, found {}.{}: try  python3 build_zip.py\n"
    sys.stderr.write(text.format(*sys.version_info))
    sys.exit(2)

from builder.command import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
