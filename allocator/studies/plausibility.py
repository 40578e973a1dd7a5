"""Plausibility in words: what a shift is called by how many steps it takes, a step being what is quite usual.

Of a shift of belief or of markets a step is a standard deviation: a normal mean moved by s of them is ½s² of relative
entropy away, so a distance d is worth √(2d); 1, 2 and 3 of them have plausibility e^-d of 0.61, 0.14 and 0.01. Of a
parameter a step is the way from the book's own value to the end of its range.
"""

from __future__ import annotations

WORDS = ((1.0, "plausible"), (2.0, "a stretch"), (3.0, "far-fetched"))
"""What is called so takes at most so many steps; what takes more is called `BEYOND`."""
BEYOND, THERE, NEVER, UNKNOWN = "next to impossible", "already there", "impossible", "no range is stated"


def in_words(steps: float) -> str:
    """What so many steps are called."""
    if steps == 0:
        return THERE
    return next((word for most, word in WORDS if steps <= most), BEYOND)
