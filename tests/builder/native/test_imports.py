"""The rules that rewrite a package's imports: their effect, and how they fail."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from builder.native import imports
from builder.native.imports import RuleError, rewrite

MODULE = '''\
"""A module."""
from __future__ import annotations

import json
import os, colorsys as colours
from base64 import (
    b64encode,  # used at once
    b64decode as decode,
)

CODE = b64encode(b"it")
ready: bool = True


def dump(value):
    """Text."""
    return json.dumps(value)


class Colour:
    def grey(self, level):
        @staticmethod
        def inner():
            return colours.rgb_to_hls(level, level, level)

        return inner

    async def one(self):
        if True:
            return decode(CODE), os.sep


def none(): pass
'''
DEFERRED = ["json", "colours", "decode"]


def run(source: str, question: str) -> str:
    code = f"{source}\nimport sys\n{question}"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_a_deferred_import_happens_on_first_use() -> None:
    source = rewrite(MODULE, DEFERRED, {})
    loaded = "print(*sorted({'json', 'colorsys', 'base64'} & set(sys.modules)))"
    assert run(MODULE, loaded) == "base64 colorsys json"
    assert run(source, loaded) == "base64"
    assert run(source, f"print(dump([1])); {loaded}") == "[1]\nbase64 json"
    assert run(source, f"print(Colour().grey(2)()); {loaded}").endswith("base64 colorsys")
    assert "from base64 import b64encode\n" in source
    assert "\nimport os\n" in source
    assert '"""Text."""\n    import json\n    return' in source


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import os\n", "expected imports of json, found none"),
        ("def f():\n    import json\n", "expected imports of json, found none"),
        ("import json\nA = json.loads('1')\n", "as soon as the module is loaded: line 2"),
        ("import json\ndef f(a=json): pass\n", "as soon as the module is loaded: line 2"),
        ("import json\ndef f(a: json): pass\n", "as soon as the module is loaded: line 2"),
        ("import json\nclass A(json.B): pass\n", "as soon as the module is loaded: line 2"),
        ("import json\n@json.d\ndef f(): pass\n", "as soon as the module is loaded: line 2"),
        ("import json\nclass A:\n    b = json\n", "as soon as the module is loaded: line 3"),
        ("import json\nif json:\n    pass\n", "as soon as the module is loaded: line 2"),
        ("import json\ntry: pass\nexcept json.E: pass\n", "as soon as the module is loaded"),
        ("import json\nf = lambda: json\n", "as soon as the module is loaded: line 2"),
        ("import json\ndef f(): return json\n", "in one line"),
        ("import json\ndef f():\n    global json\n    json = 1\n", "f assigns json itself"),
    ],
)
def test_a_rule_that_does_not_fit_is_an_error(source: str, reason: str) -> None:
    with pytest.raises(RuleError, match=reason):
        rewrite(source, ["json"], {})


def apply(folder: Path, rules: dict[str, dict[str, Any]]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-I", imports.__file__, str(folder), json.dumps(rules)]
    return subprocess.run(command, capture_output=True, text=True)


def test_rules_apply_to_every_module_or_to_one(tmp_path: Path) -> None:
    package = tmp_path / "it"
    package.mkdir()
    (package / "one.py").write_text("import logging\nfrom typing import Any, cast\nimport json\n")
    (package / "two.py").write_text("import os\n")
    instead = {"logging": "._standins", "typing": "._standins"}
    everywhere = {"*": {"defer": [], "instead": instead}}
    done = apply(package, {**everywhere, "one.py": {"defer": ["json"], "instead": {}}})
    assert done.returncode == 0, done.stderr
    rewritten = "from ._standins import logging\nfrom ._standins import Any, cast\n"
    assert (package / "one.py").read_text() == rewritten
    assert (package / "two.py").read_text() == "import os\n"
    done = apply(package, everywhere)
    assert done.returncode == 1
    assert "it: expected a module that imports logging, typing, found none\n" in done.stderr
    done = apply(package, {"two.py": {"defer": ["sys"], "instead": {}}})
    assert done.stderr == "imports.toml, it: two.py: expected imports of sys, found none\n"
    done = apply(package, {"three.py": {"defer": ["sys"], "instead": {}}})
    assert done.stderr == "imports.toml, it: expected the modules three.py, found none\n"
