"""Keys of `book.toml` that are written and that nobody reads: each is refused, or set aside by a what-if."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from allocator.book.robust import NEEDED, SCHEDULED
from allocator.book.wishes import ONE_DECISION, UTILITIES

_PRICE_KEYS = ("window_rows", "periods_per_year", "max_age_days", "after_as_of", "blanks", "late_listings", "method")
_NO_ERROR = (None, "none", 0)
Key = tuple[str, str]


def idle_keys(document: Mapping[str, Any]) -> Iterator[tuple[Key, Sequence[Key], str]]:
    """Keys that are written and that nobody reads: each with the keys that make it idle, and these in words."""
    risk, mandate, robust = (
        section if isinstance(section := document.get(name), Mapping) else {} for name in ("risk", "mandate", "robust")
    )
    source, method = risk.get("source", "exposures"), risk.get("method", "auto")
    late = risk.get("late_listings", "refuse")
    own = ("risk", "source")
    for key in risk:
        if source in ("exposures", "covariance") and key in (*_PRICE_KEYS, "factors"):
            yield ("risk", key), [own], f"source = '{source}'"
        elif key == "market_volatility" and source == "covariance":
            yield ("risk", key), [own], "source = 'covariance'"
        elif key == "market_volatility" and source == "prices" and late in ("refuse", "shorten_window"):
            words = f"source = 'prices' and late_listings = '{late}'"
            yield ("risk", key), [own, ("risk", "late_listings")], words
        elif key == "factors" and source == "prices" and method == "ledoit_wolf":
            yield ("risk", key), [("risk", "method")], "method = 'ledoit_wolf'"
    if mandate.get("objective") == "minimum_variance":
        idle = [("mandate", "risk_aversion")] if "risk_aversion" in mandate else []
        idle += [("robust", key) for key in ("return_error", "return_error_size") if robust.get(key) not in _NO_ERROR]
        trading = section if isinstance(section := document.get("trading"), Mapping) else {}
        idle += [("trading", key) for key in ("min_gain_bps", "min_share", "cost_factor") if key in trading]
        for place in idle:
            yield place, [("mandate", "objective")], "objective = 'minimum_variance'"
    elif robust.get("return_error") == "none" and robust.get("return_error_size") not in _NO_ERROR:
        yield ("robust", "return_error_size"), [("robust", "return_error")], "return_error = 'none'"
    horizon = section if isinstance(section := document.get("horizon"), Mapping) else {}
    if "months" in horizon and "until" in horizon:
        yield ("horizon", "months"), [("horizon", "until")], "until, the day that the horizon ends"
    yield from _idle_wishes(document, mandate)
    yield from _idle_reach(robust)


def _idle_wishes(document: Mapping[str, Any], mandate: Mapping[str, Any]) -> Iterator[tuple[Key, Sequence[Key], str]]:
    """Keys that belong to another objective than the one that is stated."""
    objective = mandate.get("objective", "return_minus_risk")
    idle = [("mandate", "relative_risk_aversion")] if objective != "crra" else []
    idle += [("mandate", "step_risk")] if objective != "return" else []
    if objective != "mean_cvar":
        idle += [("mandate", key) for key in ("cvar_level", "cvar_weight", "draws")]
    if objective in UTILITIES + ONE_DECISION:
        idle += [("mandate", "risk_aversion")] if objective != "mixture_variance" else []
        idle += [("trading", "min_share"), ("trading", "cost_factor")]
    for section, key in idle:
        there = document.get(section)
        if isinstance(there, Mapping) and key in there:
            yield (section, key), [("mandate", "objective")], f"objective = '{objective}'"


def _idle_reach(robust: Mapping[str, Any]) -> Iterator[tuple[Key, Sequence[Key], str]]:
    """Of what says how far a set reaches, all that the set or the schedule leaves without a meaning."""
    kind, schedule = str(robust.get("set", "none")), robust.get("schedule", "fixed")
    stated = [key for key, nothing in (("radius", 0), ("schedule", "fixed"), ("caution", None))
              if robust.get(key, nothing) != nothing]  # fmt: skip
    own = NEEDED.get(kind, ("", ""))[0]
    read = ("radius",) if kind == "wasserstein" else ()
    unread = [key for key, _ in NEEDED.values() if key != own and robust.get(key)]
    if kind not in SCHEDULED:
        unread += [key for key in stated if key not in read]
    for key in unread:
        yield ("robust", key), [("robust", "set")], f"set = '{kind}'"
    if kind not in SCHEDULED:
        return
    if schedule != "caution" and "caution" in stated:
        yield ("robust", "caution"), [("robust", "schedule")], f"schedule = '{schedule}'"
    elif schedule in ("caution", "corners") and "radius" in stated:
        yield ("robust", "radius"), [("robust", "schedule")], f"schedule = '{schedule}'"
