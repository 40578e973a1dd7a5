"""Draws of doubted parameters: even over their ranges, the same ones every time, and each known by its index."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

import numpy as np
from scipy.stats import qmc

from allocator.studies.ranges import Doubt
from allocator.types import Matrix

Method: TypeAlias = Literal["sobol", "latin_hypercube"]


def rounded(draws: int, method: Method) -> int:
    """The draws that are made for so many asked: Sobol points are even only in powers of two, so up to the next."""
    return 1 << max(draws - 1, 0).bit_length() if method == "sobol" else draws


def drawn(doubts: Sequence[Doubt], draws: int, method: Method, seed: int) -> Matrix:
    """(draws, P) values inside the ranges: scrambled Sobol points (Owen 1998), or a Latin hypercube (McKay 1979)."""
    kind = qmc.Sobol if method == "sobol" else qmc.LatinHypercube
    unit = kind(len(doubts), seed=np.random.default_rng(seed)).random(draws)
    return scaled(doubts, unit)


def scaled(doubts: Sequence[Doubt], unit: Matrix) -> Matrix:
    """(n, P) points of the unit cube as values of the parameters."""
    low = np.array([doubt.low for doubt in doubts])
    high = np.array([doubt.high for doubt in doubts])
    result: Matrix = low + unit * (high - low)
    return result
