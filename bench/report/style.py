"""How plots look, and that the same figures give the same bytes under the same matplotlib."""

from __future__ import annotations

import matplotlib as mpl

COLOURS = ("#4477aa", "#66ccee", "#ee6677", "#ccbb44", "#228833", "#aa3377")
"""Told apart by colour-blind readers, too (Paul Tol's "bright" scheme)."""
GREY = "#444444"

mpl.rcParams.update(
    {
        "backend": "agg",
        "svg.fonttype": "none",  # text stays text
        "svg.hashsalt": "bench",  # or else the names within differ from run to run
        "font.size": 10,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.spines.left": False,
        "axes.axisbelow": True,
        "axes.grid.axis": "x",
        "axes.grid": True,
        "grid.color": "#dddddd",
        "ytick.major.size": 0,
    }
)
