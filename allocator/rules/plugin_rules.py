"""Rules of other packages: held to the contract of our own before anything is solved, then kept and proved like them.

A plugin is `make(book, parameters)` and gives one `LinearRule` or several. Its coefficients steer the solver and its
formula judges the final lots; as nobody here wrote either, both are tried on the same portfolios first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy.sparse as sp

from allocator.book.book import Book, copy_for_plugins
from allocator.errors import BadInput, Breach
from allocator.outlook.outlook import Outlook
from allocator.plugins import Plugin, call_plugin, load_plugin, plugin_refusal
from allocator.rules.rows import (
    NUMBER,
    PERCENT,
    TIMES,
    LinearRule,
    RuleId,
    RuleMeasurement,
    RuleRows,
    Trade,
    row_slack,
)
from allocator.types import Vector

# Whether a rule's coefficients and its formula say the same: where they part, and where each of them begins to break.
#
# A formula that is stricter than its rows is found out on the final lots; rows that are stricter than their formula
# would make a plan that keeps every rule and is not the best one. So both are held against each other, at the border
# too.
#
Measure = Callable[[Trade], Sequence[RuleMeasurement]]
_APART = 1e-7
"""Of the account: coefficients and formula that differ by less say the same."""
_ALONE = 200
"""So many names are each tried as the only holding."""
_BORDERS = 3
"""So many ways from a portfolio that keeps a rule to one that breaks it are followed, for each rule."""
_HALVINGS = 45


def rows_against_formula(rows: RuleRows, measure: Measure, book: Book) -> Iterator[str]:
    """Where rows with their gains written out and a formula contradict each other, a sentence each; one a row."""
    tried = [(words, after, _trade(book, after)) for words, after in _portfolios(book)]
    left = np.array([row_slack(rows, trade) for _, _, trade in tried])
    excess = np.array([[reading.excess for reading in measure(trade)] for _, _, trade in tried])
    for row, label in enumerate(rows.labels):
        apart = ((left[:, row] > _APART) & (excess[:, row] > _APART)) | (
            (left[:, row] < -_APART) & (excess[:, row] < -_APART)
        )
        if apart.any():
            at = int(np.argmax(apart))
            by = ("kept", "breached") if left[at, row] > 0 else ("breached", "kept")
            yield f"contradicts itself: {tried[at][0]}, '{label}' is {by[0]} by its rows and {by[1]} by its readings"
        elif not _same_border(rows, measure, book, [after for _, after, _ in tried], excess[:, row], row):
            yield f"contradicts itself: '{label}' ends elsewhere by its rows than by its readings"


def _same_border(
    rows: RuleRows, measure: Measure, book: Book, portfolios: Sequence[Vector], excess: Vector, row: int
) -> bool:
    """Whether the row has nothing left where its formula begins to break, on the way between two portfolios."""
    kept, broken = np.flatnonzero(excess < -_APART), np.flatnonzero((excess > _APART) & np.isfinite(excess))
    for start, end in list(zip(map(int, kept), map(int, broken), strict=False))[:_BORDERS]:
        low, high = 0.0, 1.0
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            at = _trade(book, (1 - middle) * portfolios[start] + middle * portfolios[end])
            low, high = (low, middle) if measure(at)[row].excess > 0 else (middle, high)
        border = _trade(book, (1 - low) * portfolios[start] + low * portfolios[end])
        if abs(float(row_slack(rows, border)[row])) > _APART * 10:
            return False
    return True


def _portfolios(book: Book) -> Iterator[tuple[str, Vector]]:
    """(N + 1,) money in each name and in cash: of today, and what the rule is tried on beside it."""
    value, count = book.value, len(book.instruments)
    today = np.append(book.quantities * book.prices, book.cash)
    yield "with today's holdings", today
    yield "with cash alone", value * np.eye(1, count + 1, count)[0]
    yield "with equal weights", np.full(count + 1, value / (count + 1))
    for i in range(min(count, _ALONE)):
        yield f"with {book.instruments[i]} alone", value * np.eye(1, count + 1, i)[0]
    yield "with equal weights and a tenth lost to costs", np.full(count + 1, 0.9 * value / (count + 1))
    yield "with today's holdings and a tenth lost to costs", 0.9 * today


def _trade(book: Book, after: Vector) -> Trade:
    before, values = book.quantities * book.prices, after[:-1]
    bought, sold = np.maximum(values - before, 0.0), np.maximum(before - values, 0.0)
    return Trade(values, float(after[-1]), bought, sold, book.value - float(after.sum()), book.value)


# The form that a rule of another package must have: coefficients and readings that nothing below would choke on.
#
_VECTORS = ("cash", "expected", "wealth", "limit", "sense", "tier", "size", "stated")
_MATRICES = ("holdings", "buys", "sells")


def row_faults(rows: object, instruments: int, scenarios: int, tier: int) -> Iterator[str]:
    """What is wrong with coefficients: shape first, as nothing else can be said of what has another one."""
    if not isinstance(rows, RuleRows):
        yield f"gives a {type(rows).__name__} as its rows, not Rows"
        return
    if shapes := list(_shapes(rows, instruments, scenarios)):
        yield from shapes
        return
    numbers = [*(getattr(rows, name).data for name in _MATRICES), rows.gains.ravel()]
    numbers += [getattr(rows, name) for name in _VECTORS if name != "stated"]
    if not all(np.isfinite(part).all() for part in numbers) or np.isinf(rows.stated).any():
        yield "has coefficients that are no finite numbers"
    if not np.isin(rows.sense, (-1.0, 1.0)).all():
        yield "has rows whose sense is neither +1, at most, nor -1, at least"
    if (rows.tier != tier).any():
        yield f"has priority {tier}, and rows of another"
    if (rows.size <= 0).any():
        yield "has rows whose limit does not move with what is stated: their size must be above 0"


def measurement_faults(found: object, rows: RuleRows) -> Iterator[str]:
    """What is wrong with readings: they must speak of the same limits, row by row."""
    if not isinstance(found, list) or not all(isinstance(one, RuleMeasurement) for one in found):
        yield "does not give a list of Reading as its readings"
        return
    if [one.label for one in found] != list(rows.labels):
        yield f"reads {[one.label for one in found]}, and has rows {list(rows.labels)}"
        return
    for one, stated, sense in zip(found, rows.stated, rows.sense, strict=True):
        if np.isnan(one.measured) or not np.isfinite(one.limit):
            yield f"measures '{one.label}' as {one.measured} against {one.limit}"
        elif one.at_most != (sense > 0):
            yield f"says of '{one.label}' both 'at most' and 'at least'"
        elif not np.isnan(stated) and abs(one.limit - stated) > 1e-12 * max(1.0, abs(stated)):
            yield f"reads '{one.label}' against {one.limit}, and states {stated}"


def _shapes(rows: RuleRows, instruments: int, scenarios: int) -> Iterator[str]:
    labels, count = rows.labels, len(rows.labels)
    sound = isinstance(labels, tuple) and all(
        isinstance(one, str) and one.strip() and one.isprintable() for one in labels
    )
    if not sound or not count or len(set(labels)) != count:
        yield "needs a label of its own for every row, and at least one row"
    for name in _MATRICES:
        part = getattr(rows, name)
        if not isinstance(part, sp.csr_array) or part.shape != (count, instruments):
            yield f"must give {name} as a csr_array of {count} rows and {instruments} names"
    for name in _VECTORS:
        part = getattr(rows, name)
        if not isinstance(part, np.ndarray) or part.shape != (count,) or part.dtype != np.float64:
            yield f"must give {name} as {count} floating-point numbers"
    if not isinstance(rows.gains, np.ndarray) or rows.gains.shape not in ((count, 0), (count, scenarios)):
        yield f"must give gains as {count} rows with a column for each of {scenarios} scenarios, or with none"
    if len(rows.unit) != count or not set(rows.unit) <= {PERCENT, NUMBER, TIMES}:
        yield f"must write limits in one of {[PERCENT, NUMBER, TIMES]}, row by row"


@dataclass(frozen=True, eq=False)
class PluginRule(LinearRule):
    """Another package's rule, with the coefficients that it gave once and that were checked; they have ids of ours."""

    plugin: Plugin
    own: Any
    made: RuleRows
    tier: int

    @property
    def labels(self) -> Sequence[str]:
        """Its own."""
        return self.made.labels

    @property
    def ids(self) -> Sequence[RuleId]:
        """By the plugin and what it first called each row."""
        return self.made.ids

    @property
    def limits(self) -> tuple[float, ...]:  # type: ignore[override]
        """Its own."""
        return tuple(map(float, self.made.stated))

    @property
    def has_limits(self) -> bool:
        """Whether every row has one."""
        return not np.isnan(self.made.stated).any()

    def rows(self, instruments: int) -> RuleRows:
        """The coefficients that were checked: a later answer of the plugin could be another."""
        assert instruments == self.made.holdings.shape[1]
        return self.made

    def readings(self, trade: Trade, outlook: Outlook) -> Sequence[RuleMeasurement]:
        """The plugin's formula on money, one reading a row.

        Raises:
            BadInput: they are not what its rows speak of.
        """
        found = call_plugin(self.plugin, lambda: list(self.own.readings(trade, outlook)), doing="cannot be measured")
        _refuse(self.plugin, measurement_faults(found, self.made))
        return [replace(reading, id=limit) for reading, limit in zip(found, self.made.ids, strict=True)]

    def with_limits(self, limits: Sequence[float]) -> PluginRule:
        """Other limits, where the plugin has them to move.

        Raises:
            BadInput: what it gives for them has another form.
        """
        loosened = call_plugin(self.plugin, self.own.with_limits, list(limits), doing="cannot have other limits")
        names = self.made.holdings.shape[1]
        made = call_plugin(self.plugin, lambda: loosened.rows(names), doing="has no coefficients with other limits")
        _refuse(self.plugin, row_faults(made, names, self.made.gains.shape[1], self.tier))
        if len(made.labels) != len(self.made.labels):
            _refuse(self.plugin, ["has another number of rows with other limits"])
        return replace(self, own=loosened, made=replace(made, ids=self.made.ids))


def plugin_rules(book: Book, outlook: Outlook) -> Iterator[PluginRule]:
    """The rules of `[plugins.rules]`, each held to its contract.

    Raises:
        BadInput: a plugin is missing, fails, or makes something that is no rule.
    """
    for name, parameters in book.settings.plugins.rules.items():
        plugin, make = load_plugin("rules", name, "book.toml", f"plugins.rules.{name}")
        made = call_plugin(plugin, make, copy_for_plugins(book), deepcopy(parameters))
        rules = list(made) if isinstance(made, Iterable) else [made]
        if not rules:
            _refuse(plugin, ["makes no rule from these parameters"])
        for rule in rules:
            yield _plugged(plugin, rule, book, outlook)


def refuse_duplicate_labels(rules: Sequence[LinearRule], plugged: Sequence[PluginRule], instruments: int) -> None:
    """Raise where a plugin calls a rule what another is called: a plan would tell of one and mean the other."""
    taken = {label for rule in rules for label in rule.rows(instruments).labels}
    for rule in plugged:
        again = taken.intersection(rule.made.labels)
        taken.update(rule.made.labels)
        _refuse(rule.plugin, [f"calls a rule '{label}', as another is called" for label in sorted(again)])


def _plugged(plugin: Plugin, rule: object, book: Book, outlook: Outlook) -> PluginRule:
    own: Any = rule
    if not all(hasattr(own, verb) for verb in ("rows", "readings", "with_limits", "tier")):
        _refuse(plugin, [f"makes a {type(rule).__name__}, without `rows`, `readings`, `with_limits` or `tier`"])
    names, tier = len(book.instruments), call_plugin(plugin, lambda: own.tier, doing="has no `tier`")
    if type(tier) is not int or not 0 <= tier <= 9:
        _refuse(plugin, [f"has priority {tier!r}, and must have a whole number from 0 (hard) to 9"])
    made = call_plugin(plugin, own.rows, names, doing="has no coefficients")
    _refuse(plugin, row_faults(made, names, len(outlook.scenarios), tier))
    ids = tuple(RuleId("plugin", f"{plugin.name}: {label}") for label in made.labels)
    sound = PluginRule(plugin, own, replace(made, ids=ids), tier)
    _refuse(plugin, rows_against_formula(made.on(outlook), lambda trade: sound.readings(trade, outlook), book))
    same = sound.with_limits(sound.limits)
    if not np.allclose(same.made.limit, made.limit) or not np.allclose(same.made.wealth, made.wealth):
        _refuse(plugin, ["is another rule once it is given the limits that it has"])
    return sound


def _refuse(plugin: Plugin, faults: Iterable[str]) -> None:
    if found := [_breach(plugin, fault) for fault in faults]:
        raise BadInput(found)


def _breach(plugin: Plugin, fault: str) -> Breach:
    return plugin_refusal(plugin, fault, "use another version, or ask who maintains that package")
