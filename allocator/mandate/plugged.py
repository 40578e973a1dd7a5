"""Rules of other packages: held to the contract of our own before anything is solved, then kept and proved like them.

A plugin is `make(book, parameters)` and gives one `LinearRule` or several. Its coefficients steer the solver and its
formula judges the final lots; as nobody here wrote either, both are tried on the same portfolios first.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace

import numpy as np

from allocator.book.book import Book, lent
from allocator.errors import BadInput, Breach
from allocator.mandate.alike import disagreements
from allocator.mandate.form import faults_of_readings, faults_of_rows
from allocator.mandate.rules import LinearRule, Reading, Rows, Trade
from allocator.outlook.outlook import Outlook
from allocator.plugins import Plugin, called, loaded, refused


@dataclass(frozen=True, eq=False)
class PluggedRule:
    """Another package's rule, with the coefficients that it gave once and that were checked."""

    plugin: Plugin
    own: LinearRule
    made: Rows
    tier: int

    def rows(self, instruments: int) -> Rows:
        """The coefficients that were checked: a later answer of the plugin could be another."""
        assert instruments == self.made.holdings.shape[1]
        return self.made

    def readings(self, trade: Trade, outlook: Outlook) -> Sequence[Reading]:
        """The plugin's formula on money, one reading a row.

        Raises:
            BadInput: they are not what its rows speak of.
        """
        found = called(self.plugin, lambda: list(self.own.readings(trade, outlook)), doing="cannot be measured")
        _refuse(self.plugin, faults_of_readings(found, self.made))
        result: list[Reading] = found
        return result

    def eased(self, limits: Sequence[float]) -> PluggedRule:
        """Other limits, where the plugin has them to move.

        Raises:
            BadInput: what it gives for them has another form.
        """
        eased = called(self.plugin, self.own.eased, list(limits), doing="cannot be eased")
        names = self.made.holdings.shape[1]
        made = called(self.plugin, lambda: eased.rows(names), doing="has no coefficients once eased")
        _refuse(self.plugin, faults_of_rows(made, names, self.made.gains.shape[1], self.tier))
        if len(made.labels) != len(self.made.labels):
            _refuse(self.plugin, ["has another number of rows once eased"])
        return replace(self, own=eased, made=made)


def plugged_rules(book: Book, outlook: Outlook) -> Iterator[PluggedRule]:
    """The rules of `[plugins.rules]`, each held to its contract.

    Raises:
        BadInput: a plugin is missing, fails, or makes something that is no rule.
    """
    for name, parameters in book.settings.plugins.rules.items():
        plugin, make = loaded("rules", name, "book.toml", f"plugins.rules.{name}")
        made = called(plugin, make, lent(book), deepcopy(parameters))
        rules = list(made) if isinstance(made, Iterable) else [made]
        if not rules:
            _refuse(plugin, ["makes no rule from these parameters"])
        for rule in rules:
            yield _plugged(plugin, rule, book, outlook)


def refuse_namesakes(rules: Sequence[LinearRule], plugged: Sequence[PluggedRule], instruments: int) -> None:
    """Raise where a plugin calls a rule what another is called: a plan would tell of one and mean the other."""
    taken = {label for rule in rules for label in rule.rows(instruments).labels}
    for rule in plugged:
        again = taken.intersection(rule.made.labels)
        taken.update(rule.made.labels)
        _refuse(rule.plugin, [f"calls a rule '{label}', as another is called" for label in sorted(again)])


def _plugged(plugin: Plugin, rule: object, book: Book, outlook: Outlook) -> PluggedRule:
    if not isinstance(rule, LinearRule):
        _refuse(plugin, [f"makes a {type(rule).__name__}, which lacks rows, readings, eased or tier"])
    assert isinstance(rule, LinearRule)
    names, tier = len(book.instruments), called(plugin, lambda: rule.tier, doing="has no tier")
    if type(tier) is not int or not 0 <= tier <= 9:
        _refuse(plugin, [f"has tier {tier!r}, and must have a whole number from 0, hard, to 9"])
    made = called(plugin, rule.rows, names, doing="has no coefficients")
    _refuse(plugin, faults_of_rows(made, names, len(outlook.scenarios), tier))
    sound = PluggedRule(plugin, rule, made, tier)
    _refuse(plugin, disagreements(made.on(outlook), lambda trade: sound.readings(trade, outlook), book))
    same = sound.eased([float(limit) for limit in made.stated])
    if not np.allclose(same.made.limit, made.limit) or not np.allclose(same.made.wealth, made.wealth):
        _refuse(plugin, ["is another rule once it is eased to the limits that it has"])
    return sound


def _refuse(plugin: Plugin, faults: Iterable[str]) -> None:
    if found := [_breach(plugin, fault) for fault in faults]:
        raise BadInput(found)


def _breach(plugin: Plugin, fault: str) -> Breach:
    return refused(plugin, fault, "use another version, or ask who maintains that package")
