"""What a .tflite file and its labels say, and what was decided about them."""

from functools import cache
from typing import Any

from builder.base.paths import ROOT
from builder.base.toml import read_toml

MODELS = ROOT / "model"


@cache
def known_models() -> dict[str, Any]:
    """Return the models that can be asked for by name: `model/catalogue.toml`."""
    return read_toml(MODELS / "catalogue.toml")
