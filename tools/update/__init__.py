"""Keep the pins current: `python3 -m tools.update` finds newer versions and writes the pins.

It tries our patches on them, and runs in an environment of its own (`requirements.in`).
"""
