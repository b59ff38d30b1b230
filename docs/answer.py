"""Draw `answer.svg`, the picture in the README: what the last build says of the sample picture.

Run it in the tool's environment, after a build:
`~/.cache/classify-zip/environments/tools-*/bin/python docs/answer.py`.
"""

import io
import re
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

ROOT = Path(__file__).resolve().parent.parent
PICTURE = "builder/artifact/sample/espresso.jpg"
_AS_ON_A_TERMINAL = (
    "import sys; sys.stdout.isatty = lambda: True\nfrom client.cli import run; run(sys.argv[1:])"
)


def main() -> None:
    """Run the command line and save what a terminal would show."""
    done = subprocess.run(
        [sys.executable, "-c", _AS_ON_A_TERMINAL, PICTURE],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    console = Console(record=True, width=60, file=io.StringIO())
    console.print(Text(f"$ python -m action {PICTURE}", style="bold"))
    console.print(Text(done.stdout.rstrip()))
    drawing = console.export_svg(title="classify", theme=MONOKAI)
    # No fonts from elsewhere: pages that show the picture would not load them anyway.
    drawing = re.sub(r"@font-face \{.*?\}\s*", "", drawing, flags=re.DOTALL)
    drawing = drawing.replace("Fira Code", "DejaVu Sans Mono").replace("arial", "sans-serif")
    (ROOT / "docs" / "answer.svg").write_text(drawing)


if __name__ == "__main__":
    main()
