"""The desk: a book whose knobs are turned, and what is best at each setting, solved again on programs that are kept.

A knob is a key of book.toml or a view of today. What is shown at a setting are targets, verified like those of
`rebalance`, and the trades towards them before whole lots; the orders that are written are those of `rebalance` itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypedDict

from allocator.book.book import Book
from allocator.errors import AllocatorError, BadInput, Infeasible, did_you_mean
from allocator.mandate.builder import build_mandate
from allocator.mandate.mandate import Mandate
from allocator.multistage.mandate import build_multistage_mandate
from allocator.multistage.solve import solve_policy, with_hindsight
from allocator.optimization.conflicts import relax_by_tier
from allocator.optimization.solve import Limits, kept_programs
from allocator.outlook.outlook import Outlook, build_outlook
from allocator.plan.plan import binding_rules
from allocator.plan.rebalance import with_tried_fixes
from allocator.plan.risk_figures import RiskDocument, risk_document, risk_figures
from allocator.plan.targets import solve_certified, with_chosen_names
from allocator.presentation import describe_span
from allocator.rules import Trade
from allocator.rules.rows import Position
from allocator.settings.reading import with_overrides


@dataclass(frozen=True)
class Knob:
    """What may be turned: the keys of book.toml that it writes, its range, and where the book has it."""

    id: str
    label: str
    keys: tuple[str, ...]
    low: float
    high: float
    step: float
    value: float
    unit: Literal["fraction", "number", "switch"]

    def overrides(self, value: float) -> Iterator[str]:
        """What --set takes to turn it there.

        Raises:
            BadInput: it does not go so far.
        """
        if not self.low <= value <= self.high:
            rule, cure = f"does not go to {value:g}", f"choose from {self.low:g} to {self.high:g}"
            raise BadInput.of("desk", rule, cure, column=self.label)
        for key in self.keys:
            yield f"{key}=[]" if self.unit == "switch" else f"{key}={float(value)!r}"


def knobs_of(book: Book) -> tuple[Knob, ...]:
    """Those that this book has: belief, caution, risk aversion, turnover, caps of buckets, reviews."""
    settings, mandate, robust = book.settings, book.settings.mandate, book.settings.robust
    found = list[Knob]()
    if settings.question is not None:
        name = settings.hypotheses[0]
        of_name = [section.hypothesis == name for section in settings.scenarios.values()]
        p = float(build_outlook(book).probabilities[of_name].sum())
        found.append(Knob("belief", f"P({name})", (f"believe.{name}",), 0.01, 0.99, 0.01, p, "fraction"))
    for key, section in {"robust": robust, **{f"robust.{axis}": one for axis, one in robust.axes.items()}}.items():
        if section.caution is not None:
            about = f"caution{'' if key == 'robust' else f' about the {robust_axis(key)}'}"
            found.append(Knob(key, about, (f"{key}.caution",), 0.0, 1.0, 0.05, section.caution, "fraction"))
    if "risk_aversion" in mandate.traits.keys:
        most = max(10.0, 2 * mandate.risk_aversion)
        found.append(
            Knob("risk", "risk aversion", ("mandate.risk_aversion",), 0.1, most, 0.1, mandate.risk_aversion, "number")
        )
    if mandate.max_turnover is not None:
        found.append(
            Knob(
                "turnover",
                "turnover at most",
                ("mandate.max_turnover",),
                0.0,
                1.0,
                0.01,
                mandate.max_turnover,
                "fraction",
            )
        )
    for name, bucket in mandate.buckets.items():
        if bucket.max is not None:
            keys = (f"mandate.buckets.{name}.max",)
            found.append(
                Knob(f"cap {name}", f"{name} at most".replace("_", " "), keys, 0.0, 1.0, 0.01, bucket.max, "fraction")
            )
    if settings.horizon.reviews:
        found.append(Knob("reviews", "reviews", ("horizon.reviews",), 0.0, 1.0, 1.0, 1.0, "switch"))
    return tuple(found)


def robust_axis(key: str) -> str:
    """What an axis of [robust] is about."""
    return {"robust.question": "answer", "robust.regime": "regime"}[key]


class Fix(TypedDict):
    """A way out of a conflict: in words, how far it turns which knobs, and what else --set takes."""

    text: str
    turned: dict[str, float]
    more: list[str]


class Answer(TypedDict, total=False):
    """What is best at a setting, or why nothing is."""

    overrides: list[str]
    weights: dict[str, float]
    trades: dict[str, float]
    scenarios: dict[str, float]
    figures: dict[str, float]
    risk: RiskDocument
    binding: list[str]
    certificate: str
    conflict: str
    fixes: list[Fix]


_LARGEST = 1e300
"""Of what a knob may be asked for: beyond it there is no number, and nothing that is none is below it."""


class Desk:
    """One book at many settings; each shape of program is compiled once."""

    def __init__(self, book: Book) -> None:
        self.book, self.knobs = book, knobs_of(book)
        self._program, self._fixes = kept_programs(), set[str]()

    def overrides(self, turned: Mapping[str, Any], more: Sequence[str] = ()) -> list[str]:
        """What --set takes for knobs that are turned, and for fixes that were offered.

        Raises:
            BadInput: a knob is unknown, does not go so far or is no number; a fix was never offered.
        """
        by_id = {knob.id: knob for knob in self.knobs}
        asked = list[str]()
        for name, value in turned.items():
            knob = by_id.get(name)
            if knob is None:
                raise BadInput.of("desk", "this book has no such knob", did_you_mean(name, by_id), value=name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= _LARGEST:
                raise BadInput.of(
                    "desk", "is no number", f"choose from {knob.low:g} to {knob.high:g}", column=knob.label
                )
            if value != knob.value:
                asked += knob.overrides(float(value))
        if strange := [one for one in more if one not in self._fixes]:
            raise BadInput.of(
                "desk", "was not offered as a fix", "choose one of those that are shown", value=strange[0]
            )
        return [*asked, *more]

    def at(self, overrides: Sequence[str]) -> Book:
        """The book at a setting.

        Raises:
            BadInput: the settings contradict each other.
        """
        return replace(self.book, settings=with_overrides(self.book.settings, overrides)) if overrides else self.book

    def answer(self, turned: Mapping[str, Any], more: Sequence[str] = ()) -> Answer:
        """What is best there, verified; a conflict is an answer, too."""
        overrides = self.overrides(turned, more)
        own = self.at(overrides)
        try:
            return {"overrides": overrides, **self._solved(own)}
        except Infeasible as error:
            tried = with_tried_fixes(error, own)
            ways = zip(tried.fixes, tried.overrides, strict=False)
            fixes = [self._fix(text, sets) for text, sets in ways if sets]
            self._fixes.update(one for fix in fixes for one in fix["more"])
            return {"overrides": overrides, "conflict": tried.message, "fixes": fixes}
        except AllocatorError as error:
            return {"overrides": overrides, "conflict": str(error), "fixes": []}

    def _fix(self, text: str, overrides: Sequence[str]) -> Fix:
        by_key = {key: knob for knob in self.knobs for key in knob.keys}
        pairs = {one: one.partition("=") for one in overrides}
        turned = {by_key[key].id: float(value) for key, _, value in pairs.values() if key in by_key}
        return {"text": text, "turned": turned, "more": [one for one, (key, *_) in pairs.items() if key not in by_key]}

    def _solved(self, book: Book) -> Answer:
        outlook, start, limits = build_outlook(book), Position(book.weights, book.cash / book.value), Limits.of(book)
        if book.settings.uses_tree:
            staged = with_hindsight(build_multistage_mandate(book, outlook), start, limits)
            policy = solve_policy(staged, start, limits)
            told = f"Certainty equivalent {policy.gain:z.2%} ({policy.solver})."
            return {**_shown(book, outlook, staged.mandates[0], policy.trade(0)), "binding": [], "certificate": told}
        stated = with_chosen_names(build_mandate(book, outlook), book, start, outlook)
        given = relax_by_tier(start, outlook, stated)
        mandate = stated if given is None else given.looser(1e-4).with_limits(stated)
        program = self._program(outlook, mandate)
        target, prices, proof = solve_certified(program, start, outlook, mandate, limits, book.value)
        return {
            **_shown(book, outlook, mandate, target),
            "binding": [
                f"{one.label} ({one.bps_per_point:z.2f} bps per percentage point)"
                for one in binding_rules(outlook, mandate, target, prices)
            ],
            "certificate": f"Within {max(abs(proof.gap) * 1e4, 0.001):z.3f} bps of the best there is ({proof.solver}, "
            "checked outside the solver).",
        }


def _shown(book: Book, outlook: Outlook, mandate: Mandate, target: Trade) -> Answer:
    unit, names = target.value_before, (*book.instruments, book.cash_instrument)
    gains = (outlook.portfolio_returns(target.values, target.cash) + target.value) / unit - 1
    adverse = -mandate.ambiguity.worst_case(-gains, outlook.probabilities)
    bought, sold = target.bought / unit, target.sold / unit
    traded = (bought - sold) * book.value
    risk = risk_figures(book, outlook, target, book.settings.mandate.max_participation)
    return {
        "weights": {name: round(float(part), 8) + 0.0 for name, part in zip(names, target.all_weights, strict=True)},
        "trades": {name: round(float(amount), 2) + 0.0 for name, amount in zip(book.instruments, traded, strict=True)},
        "scenarios": {name: round(float(gain), 8) + 0.0 for name, gain in zip(outlook.scenarios, gains, strict=True)},
        "figures": {
            "expected_return": round(float(outlook.probabilities @ gains), 8),
            "adverse_expected_return": round(float(adverse), 8),
            "turnover": round(max(float(bought.sum()), float(sold.sum())), 8),
            "volatility": round(risk.volatility, 8),
            f"VaR 99% over {describe_span(risk.longest)}": round(risk.tails[risk.longest, 0.99].value_at_risk, 8),
            "effective_names": round(risk.effective_names, 8),
        },
        "risk": risk_document(risk),
    }
