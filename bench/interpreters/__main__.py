"""`python -m bench.interpreters` is `python -m bench interpreters`."""

import sys

from bench.__main__ import main

sys.exit(main(["interpreters", *sys.argv[1:]]))
