"""Keeps the pins current: finds newer versions, tries the patches on them, writes the pins.

`index` and `builder.native.debian` say what there is, `pins` reads and writes the pins of sources
and wheels, `trial` tries a source's patches and rules, `requirements` compiles the requirements
files, `vulnerabilities` asks what is known of a zip's bill of materials. `python -m tools.update`
is the command; it runs in an environment of its own (`requirements.in` beside this file).
"""
