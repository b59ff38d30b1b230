"""Keep the pins current: `python3 -m tools.update` finds newer versions and writes the pins.

It runs in an environment of its own (`requirements.in`).
"""
