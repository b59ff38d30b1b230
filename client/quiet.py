"""Standard error kept quiet while something native starts."""

import os
import sys


class silenced:
    """Standard error goes nowhere within the block, native code's too."""

    def __enter__(self) -> None:
        sys.stderr.flush()
        self._saved = os.dup(2)
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 2)
        os.close(nowhere)

    def __exit__(self, *_: object) -> None:
        sys.stderr.flush()
        os.dup2(self._saved, 2)
        os.close(self._saved)
