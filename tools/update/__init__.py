"""Keep the pins current: find newer versions, try our patches on them, write the pins.

`index` asks the package index, `builder.native.debian` Debian's archive. `pins` reads and writes
the pins of sources and wheels, `patches` tries a source's patches and import rules,
`requirements` compiles the requirements files. `python3 -m tools.update` is the command; it runs
in an environment of its own (`requirements.in` beside this file).
"""
