"""A rule: some names weigh at most so much together. It says so twice, as coefficients and as a formula on amounts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy.sparse as sp

from allocator.book.book import Book
from allocator.errors import BadMandate, Breach, did_you_mean
from allocator.outlook.outlook import Outlook
from allocator.rules import RuleMeasurement, RuleRows, Trade, format_limit_percent, linear_rows


@dataclass(frozen=True, eq=False)
class Together:
    """Σ h_i ≤ limit·W over the names at the positions `at`, W being the account after the trades."""

    at: tuple[int, ...]
    limit: float
    tier: int = 0  # its priority: 0 is hard; 1 to 9 may be relaxed, 9 first

    @property
    def label(self) -> str:
        """What plans and conflicts call it."""
        return f"the listed names together at most {format_limit_percent(self.limit)}"

    def rows(self, instruments: int) -> RuleRows:
        """Coefficients of holdings·h ≤ wealth·W + limit; what is not named is zero."""
        counted = np.zeros((1, instruments))
        counted[0, list(self.at)] = 1.0
        return linear_rows(
            [self.label],
            instruments,
            holdings=sp.csr_array(counted),
            wealth=np.array([self.limit]),
            stated=[self.limit],
            tier=self.tier,
        )

    def readings(self, trade: Trade, outlook: Outlook) -> list[RuleMeasurement]:
        """The same from amounts after the trades: this is what the certificate checks, and it sees no coefficient."""
        del outlook
        held = float(trade.values[list(self.at)].sum()) / trade.value
        return [RuleMeasurement(self.label, held, self.limit, at_most=True)]

    def with_limits(self, limits: Sequence[float]) -> Together:
        """Another limit: for a fix, or where the rule is relaxed."""
        return replace(self, limit=limits[0])


def together(book: Book, parameters: Mapping[str, Any]) -> Together:
    """Make the rule from `[plugins.rules.together]`: `names`, `limit` and optionally `tier`."""
    place = "plugins.rules.together"
    names, limit = list(parameters.get("names", [])), parameters.get("limit")
    found = [
        Breach(
            "book.toml", None, f"{place}.names", str(name), "no such instrument", did_you_mean(name, book.instruments)
        )
        for name in names
        if name not in book.instruments
    ]
    if not names:
        found.append(Breach("book.toml", None, f"{place}.names", None, "is required", "list the instruments"))
    if not isinstance(limit, float) or not 0 <= limit <= 1:
        found.append(Breach("book.toml", None, f"{place}.limit", str(limit), "must be from 0 to 1", "12 % is 0.12"))
    found += [
        Breach("book.toml", None, f"{place}.{key}", None, "unknown key", did_you_mean(key, ("names", "limit", "tier")))
        for key in parameters
        if key not in ("names", "limit", "tier")
    ]
    if found or not isinstance(limit, float):
        raise BadMandate(found)
    return Together(tuple(map(book.instruments.index, names)), limit, parameters.get("tier", 0))
