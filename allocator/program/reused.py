"""Trees that were compiled a moment ago: the same tree from elsewhere is solved again without compiling it again.

What is lived through twice in one question (the lots against holding, and who holds other weights) differs in where one
stands alone. Programs are kept by thread, a few of them, and found by comparing every number of the question.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, fields, is_dataclass

import numpy as np
from numpy.typing import NDArray

from allocator.mandate.staged import Staged
from allocator.mandate.tail import MeanCVaR
from allocator.optimization.single_period import Start
from allocator.program.recourse import Staging, staging

_KEPT = 4


@dataclass(frozen=True, eq=False)
class _Compiled:
    """A program and the question that it is of: all but how much of each name is held."""

    staged: Staged
    held: NDArray[np.bool_]
    how: tuple[bool, float]
    made: Staging


_of_thread = threading.local()


def staging_from(staged: Staged, start: Start, *, trading: bool, trade_unit: float) -> Staging:
    """The program of a tree from `start`: one that was compiled before where only the amounts are others."""
    kept: list[_Compiled] = _of_thread.__dict__.setdefault("kept", [])
    held, how = start.holdings > 0, (trading, trade_unit)
    for place, one in enumerate(kept):
        if one.how == how and np.array_equal(one.held, held) and same(one.staged, staged):
            kept.append(kept.pop(place))
            one.made.write(start)
            return one.made
    made = staging(staged, start, trading=trading, trade_unit=trade_unit)
    if not isinstance(staged.utility, MeanCVaR):  # draws are large, and soon in the way
        kept.append(_Compiled(staged, held, how, made))
        del kept[:-_KEPT]
    return made


def same(one: object, other: object) -> bool:
    """Whether two parts of a question are equal to their last digit."""
    if one is other:
        return True
    if type(one) is not type(other):
        return False
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        return one.dtype == other.dtype and np.array_equal(one, other)
    if isinstance(one, tuple) and isinstance(other, tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if is_dataclass(one):
        return all(same(getattr(one, part.name), getattr(other, part.name)) for part in fields(one))
    return bool(one == other)
