"""What the next bit of return, of caution and of turnover costs: every point is an optimum of its own, proved, no lots.

The rules, the costs and the position are the book's throughout. Along the frontier of risk the aversion to it changes;
along those of caution the radius, from none to all of the stated set (with a question: to caution 1); up the ladder the
turnover that is allowed, for the belief and, as if each were certain, for every scenario.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias, TypedDict

import numpy as np

from allocator.ambiguity.balls import Singleton
from allocator.ambiguity.sets import ABOUT, Ambiguity, ambiguity_set
from allocator.book.book import Book, refuse_no_book
from allocator.errors import BadMandate, Infeasible, NotSolved, setting_breach
from allocator.mandate.builder import build_mandate
from allocator.mandate.mandate import Mandate, no_trade
from allocator.multistage.mandate import MultistageMandate, build_multistage_mandate
from allocator.multistage.policy import Policy
from allocator.multistage.solve import (
    TailPolicies,
    buy_and_hold_policy,
    policy_after_first_trades,
    with_hindsight,
)
from allocator.optimization.conflicts import relax_by_tier
from allocator.optimization.elastic import ElasticProgram
from allocator.optimization.resolve import CertifiedSolution
from allocator.optimization.solve import Limits, Program, trade_of_solution
from allocator.outlook.outlook import Outlook, build_outlook
from allocator.outlook.scenario_tree import build_review_tree
from allocator.plan.caution import at_full_caution
from allocator.plan.plan import Figures, return_figures
from allocator.plan.reviews import of_chosen_names
from allocator.plan.targets import solve_certified, with_chosen_names
from allocator.presentation import ByName, Keywords, NotNegative, OutlookHeading, Probability, Row
from allocator.rules import Trade, Turnover
from allocator.rules.rows import Position, round_loosened
from allocator.stress_testing.reoptimization import Answer, PlanProblem, Reoptimizer, UnsolvedProblem

if TYPE_CHECKING:
    from allocator.few_names.search import FoundNames

POINTS = 30
OF_RISK = ("risk_aversion", "relative_risk_aversion", "cvar_weight")
"""The axes along which return is traded for risk."""
_HIGHEST, _HALVINGS = 100.0, 12
"""Times the book's own aversion to risk, halved as often until there is a plan: where risk is dear enough, money would
be thrown away to have less of it."""
_RUNGS, _MOST_RUNGS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0), 8
"""Of the account: the least that makes no more rungs of the ladder is taken."""
_SAME = 1e-6
"""Of the way between two points of a curve: what is no point between them."""
_KEEPS = 1e-9
"""Of a rule's own unit, as final lots are judged."""
_NOTHING = 1e-8
"""Of the account: a gain that is none."""


@dataclass(frozen=True, eq=False)
class FrontierPoint:
    """The best plan where one thing is stated otherwise, `at`: its figures, what its objective loses against the plan
    that trusts the belief if the belief is right, and saves under the whole set; its turnover; how far its weights are
    from those of the book's plan, half the sum of differences.
    """

    at: float
    figures: Figures
    cost_bps: float
    protection_bps: float
    turnover: float
    distance: float
    weights: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class FrontierCurve:
    """Points along `axis`: risk_aversion, or caution about the answer, the regime, both, or the one set of all."""

    axis: str
    points: tuple[FrontierPoint, ...]


@dataclass(frozen=True, eq=False)
class Rung:
    """The best plan with at most so much turnover: what it gains over no trade, in the objective and in the return of
    each scenario (K,); and for each scenario, as if it were certain, what the best plan for it gains then, None where
    there is none. The first is what is held, which may not keep the rules.
    """

    turnover: float
    gain: float
    returns: tuple[float, ...]
    if_certain: tuple[float | None, ...]
    keeps_rules: bool = True


@dataclass(frozen=True, eq=False)
class ScenarioOptimum:
    """The best plan if the scenario were certain: its objective there, and how far from it, and how much below, today's
    book and the plan are. None where no plan keeps the rules in that scenario.
    """

    scenario: str
    probability: float
    objective: float | None
    today_distance: float | None
    plan_distance: float | None
    today_shortfall: float | None
    plan_shortfall: float | None


@dataclass(frozen=True)
class FrontierGap:
    """So many points of an axis, from `low` to `high`, that have no plan, and why."""

    axis: str
    low: float
    high: float
    points: int
    reason: str


@dataclass(frozen=True, eq=False)
class Frontier:
    """The curves, the ladder from no trade to the plan, and the optimum of each scenario; `plan` is of the book as it
    is stated, before lots, and `today` what is held. `gaps` are the points without a plan.
    """

    book: Book
    outlook: Outlook
    curves: tuple[FrontierCurve, ...]
    ladder: tuple[Rung, ...]
    optima: tuple[ScenarioOptimum, ...]
    today: FrontierPoint
    plan: FrontierPoint
    gaps: tuple[FrontierGap, ...]

    def document(self) -> FrontierDocument:
        """The figures as plain data."""
        names = (*self.book.instruments, self.book.cash_instrument)
        scenarios, certain = self.outlook.scenarios, [one.scenario for one in self.optima]
        return {
            "format": "allocator.frontier/1",
            "book": self.book.outlook_heading(),
            "today": _portfolio(self.today, names),
            "plan": _portfolio(self.plan, names),
            "curves": [
                {"axis": curve.axis, "points": [{"at": one.at, **_portfolio(one, names)} for one in curve.points]}
                for curve in self.curves
            ],
            "ladder": [
                {
                    "turnover": round(rung.turnover, 10),
                    "keeps_rules": rung.keeps_rules,
                    "gain_bps": round(rung.gain * 1e4, 6),
                    "gain_kept": _share(rung.gain, self.ladder[-1].gain),
                    "returns_bps": dict(zip(scenarios, (round(gain * 1e4, 6) for gain in rung.returns), strict=True)),
                    "if_certain_bps": _by_name(certain, [_bps(gain) for gain in rung.if_certain], 6),
                    "if_certain_kept": _by_name(
                        certain,
                        [_share(own, best) for own, best in zip(rung.if_certain, self.best_gains, strict=True)],
                    ),
                }
                for rung in self.ladder
            ],
            "scenarios": [
                {
                    "scenario": one.scenario,
                    "probability": round(one.probability, 8),
                    "objective": None if one.objective is None else round(one.objective, 10),
                    "today_distance": None if one.today_distance is None else round(one.today_distance, 8),
                    "plan_distance": None if one.plan_distance is None else round(one.plan_distance, 8),
                    "today_shortfall_bps": _rounded(_bps(one.today_shortfall), 6),
                    "plan_shortfall_bps": _rounded(_bps(one.plan_shortfall), 6),
                }
                for one in self.optima
            ],
            "gaps": [asdict(one) for one in self.gaps],
        }

    @property
    def best_gains(self) -> tuple[float | None, ...]:
        """(K,) what the best plan for each scenario gains if it is certain, whatever it trades."""
        return tuple(one.today_shortfall for one in self.optima)


def _bps(fraction: float | None) -> float | None:
    return None if fraction is None else fraction * 1e4


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits) + 0.0


def _share(gain: float | None, whole: float | None) -> float | None:
    return None if gain is None or whole is None or whole <= _NOTHING else round(gain / whole, 8) + 0.0


def _by_name(names: Sequence[str], values: Sequence[float | None], digits: int = 8) -> dict[str, float | None]:
    return {name: _rounded(value, digits) for name, value in zip(names, values, strict=True)}


def _portfolio(one: FrontierPoint, names: Sequence[str]) -> _Portfolio:
    return {
        "expected_return": round(one.figures.expected_return, 10),
        "adverse_expected_return": round(one.figures.adverse_expected_return, 10),
        "volatility": round(one.figures.volatility, 10),
        "expected_shortfall": round(one.figures.expected_shortfall, 10),
        "cost_bps": round(one.cost_bps, 6) + 0.0,
        "protection_bps": round(one.protection_bps, 6) + 0.0,
        "turnover": round(one.turnover, 10),
        "distance": round(one.distance, 8),
        "weights": dict(zip(names, (round(weight, 8) + 0.0 for weight in one.weights), strict=True)),
    }


class _Portfolio(TypedDict):
    expected_return: Annotated[float, "over the horizon, after costs, under the stated probabilities"]
    adverse_expected_return: Annotated[float, "the same under the adverse probabilities of the book's whole set"]
    volatility: Annotated[NotNegative, "annual, within and between scenarios"]
    expected_shortfall: Annotated[float, "the mean loss in the worst 5 % of the horizon's outcomes"]
    cost_bps: Annotated[float, "in the objective if the belief is right, against the plan that trusts it"]
    protection_bps: Annotated[float, "in the objective under the whole set, against the same plan"]
    turnover: Annotated[NotNegative, "the larger of purchases and sales, as a fraction of the account"]
    distance: Annotated[NotNegative, "half the sum of differences of the weights from those of the plan"]
    weights: ByName


class _FrontierRow(_Portfolio):
    at: Annotated[NotNegative, "the risk aversion, or the part of the whole radius"]


class _CurveRows(TypedDict):
    axis: Annotated[str, Keywords(enum=[*OF_RISK, *ABOUT, "both", "set"])]
    points: Annotated[list[_FrontierRow], Keywords(minItems=1)]


class _RungRow(TypedDict):
    turnover: Annotated[NotNegative, "what may be traded at most, as a fraction of the account"]
    keeps_rules: Annotated[bool, "whether it keeps every rule: what is held, the first, may not"]
    gain_bps: Annotated[float, "of the objective over no trade"]
    gain_kept: Annotated[float | None, "of the gain of the plan; None where the plan gains nothing"]
    returns_bps: Annotated[dict[str, float], "of the return in each scenario over no trade"]
    if_certain_bps: Annotated[dict[str, float | None], "of the objective of the best for a scenario, were it certain"]
    if_certain_kept: Annotated[dict[str, float | None], "of the gain of the best for it at any turnover"]


class _OptimumRow(TypedDict):
    scenario: str
    probability: Probability
    objective: Annotated[float | None, "of the best plan, were the scenario certain; None where none keeps the rules"]
    today_distance: Annotated[float | None, "half the sum of differences of what is held from it"]
    plan_distance: float | None
    today_shortfall_bps: Annotated[float | None, "how much less the objective of what is held is there"]
    plan_shortfall_bps: float | None


class FrontierDocument(TypedDict):
    """What the next bit of return, of caution and of turnover costs; written by `allocator frontier --json`."""

    format: Literal["allocator.frontier/1"]
    book: OutlookHeading
    today: Annotated[_Portfolio, "what is held, were nothing traded"]
    plan: Annotated[_Portfolio, "the plan of the book as it is, before lots"]
    curves: list[_CurveRows]
    ladder: list[_RungRow]
    scenarios: list[_OptimumRow]
    gaps: list[Annotated[Row, FrontierGap]]


def frontier(book: Book, *, points: int | None = None, progress: Callable[[str], None] | None = None) -> Frontier:
    """The frontiers of return against risk and against caution, of so many `points` each (by default 30, and 6 where
    each is a tree of decisions), the ladder of turnover, and the best plan for each scenario, which trees have none of.

    Raises:
        BadMandate: the objective looks at no return.
        Infeasible: limits conflict.
        NotSolved: the plan has no verified solution.
    """
    refuse_no_book(book)
    _refuse_impossible(book)
    say = progress or (lambda _: None)
    asked: Any = _OverReviews(book) if book.settings.uses_tree else _OnePeriod(book)
    say("the plan")
    plan, gaps = asked.plan(), list[FrontierGap]()
    measured = _Measured(book, asked, plan)
    curves = []
    for axis, answers in measured.axes(points or asked.points):
        say(f"the frontier of {AXES[axis]}")
        kept, lost = list[FrontierPoint](), dict[str, list[float]]()
        for at, found in answers:
            if isinstance(found, UnsolvedProblem):
                lost.setdefault(found.reason, []).append(at)
            else:
                kept.append(measured.point(at, found))
        gaps += [FrontierGap(axis, min(at), max(at), len(at), reason) for reason, at in lost.items()]
        if kept:
            curves.append(FrontierCurve(axis, tuple(kept)))
    say("the ladder")
    return Frontier(
        book,
        asked.outlook,
        tuple(curves),
        _ladder(asked, plan),
        tuple(_optima(asked, plan)) if asked.knows_scenarios else (),
        measured.point(0.0, asked.held),
        measured.point(0.0, plan),
        tuple(gaps),
    )


AXES = {
    "risk_aversion": "risk aversion",
    "relative_risk_aversion": "risk aversion",
    "cvar_weight": "weight of the tail",
    "answer": "caution about the answer",
    "regime": "caution about the regime",
    "both": "caution about both",
    "set": "the radius",
}


def _refuse_impossible(book: Book) -> None:
    """Raise where no return is traded for anything.

    Raises:
        BadMandate: with the reason.
    """
    if not book.settings.mandate.traits.uses_returns:
        rule = "looks at no return, so that no return is traded for risk"
        objective = book.settings.mandate.objective
        raise BadMandate([setting_breach("mandate.objective", objective, rule, "choose return_minus_risk")])


class _OnePeriod:
    """The book's question, asked again with another mandate or belief; answers are trades, in parts of the account."""

    points, knows_scenarios = POINTS, True

    def __init__(self, book: Book) -> None:
        self.outlook, self.start = build_outlook(book), Position(book.weights, book.cash / book.value)
        self.mandate = with_chosen_names(build_mandate(book, self.outlook), book, self.start, self.outlook)
        given = relax_by_tier(self.start, self.outlook, self.mandate)
        if given is not None:
            self.mandate = given.looser(1e-4).with_limits(self.mandate)
        self.held = replace(no_trade(book), values=book.weights, cash=book.cash / book.value, value_before=1.0)
        whole = ambiguity_set(at_full_caution(book), self.outlook) if book.settings.question else self.mandate.ambiguity
        self.cautious, self._limits = self.mandate.wanting(ambiguity=whole), Limits.of(book)
        self._at = {None: self.mandate, 0.0: self.mandate.wanting(ambiguity=Singleton()), 1.0: self.cautious}
        self._answers = Reoptimizer(PlanProblem(self.start, self.outlook, self.mandate, self._limits))

    def best(self, mandate: Mandate, outlook: Outlook | None = None) -> Trade | UnsolvedProblem:
        """The best trade, proved, or why there is none."""
        answer = self.answer(mandate, outlook)
        return answer if isinstance(answer, UnsolvedProblem) else self.trade(answer)

    def answer(self, mandate: Mandate, outlook: Outlook | None = None) -> Answer:
        """The same as it was found."""
        return self._answers.solve(outlook or self.outlook, mandate)

    def trade(self, answer: CertifiedSolution) -> Trade:
        """What leads to it."""
        return trade_of_solution(self.start, self.mandate, answer.holdings, 1.0)

    def plan(self) -> Trade:
        """The book's targets, or an error that says what stands in their way."""
        program = Program(self.outlook, self.mandate)
        return solve_certified(program, self.start, self.outlook, self.mandate, self._limits)[0]

    def by_aversion(self, points: int) -> tuple[str, list[tuple[float, Trade | UnsolvedProblem]]]:
        """Along the aversion to risk."""
        return "risk_aversion", _by_aversion(self, points)

    def guarded(self, answer: float, regime: float) -> Trade | UnsolvedProblem:
        """The best at so much of the whole radius about each axis."""
        return self.best(self.mandate.wanting(ambiguity=self.cautious.ambiguity.at_caution(answer, regime)))

    def within(self, level: float, k: int | None = None) -> Trade | UnsolvedProblem:
        """The best with so much turnover at most, for the belief or as if scenario k were certain."""
        mandate, outlook = (self.mandate, self.outlook) if k is None else self.if_certain(k)
        return self.best(_capped(mandate, level), outlook)

    def loss(self, trade: Trade, part: float | None = None) -> float:
        """By the book's objective, or with its set at a part of the whole."""
        return self._at[part].loss(trade, self.outlook)

    def losses(self, trade: Trade, figures: Figures) -> tuple[float, float]:
        """If the belief is right, and under the whole set, by figures under that: what is held is charged alike."""
        charged = self.mandate.held_charge(trade.values, self.outlook.risk)
        return charged - figures.expected_return, charged - figures.adverse_expected_return

    def today(self, trade: Trade) -> Trade:
        """What is traded today."""
        return trade

    def if_certain(self, k: int) -> tuple[Mandate, Outlook]:
        """The question if scenario k were certain."""
        certain = np.zeros(len(self.outlook.scenarios))
        certain[k] = 1.0
        return self.mandate.wanting(ambiguity=Singleton()), replace(self.outlook, probabilities=certain)


_Known: TypeAlias = tuple[float, float, float, CertifiedSolution]
"""An aversion to risk, and at the best for it variance and what it brings beside its risk."""


def _by_aversion(asked: _OnePeriod, points: int) -> list[tuple[float, Trade | UnsolvedProblem]]:
    """The plans from the highest aversion to risk to none: the ends, then one between the two neighbours that are
    furthest apart, at the aversion to which both are equally good. What is better than either is found so, if anything
    is (Cohon 1978, the non-inferior set estimation).
    """
    mandate, risk = asked.mandate, asked.outlook.risk
    lost = list[tuple[float, Trade | UnsolvedProblem]]()

    def solved(aversion: float) -> _Known | None:
        found = asked.answer(mandate.wanting(risk_aversion=aversion))
        if isinstance(found, UnsolvedProblem):
            lost.append((aversion, found))
            return None
        variance = risk.variance(found.holdings)
        return aversion, variance, aversion * variance - found.objective, found

    ends = (solved((mandate.risk_aversion or 1.0) * _HIGHEST / 2**halved) for halved in range(_HALVINGS + 1))
    known = [one for one in (next(filter(None, ends), None), solved(0.0)) if one is not None]
    way = (known[-1][1] - known[0][1], known[-1][2] - known[0][2]) if known else (1.0, 1.0)
    whole = max(way[0], 1e-300), max(way[1], 1e-300)

    def apart(low: _Known, high: _Known) -> float:
        return math.hypot((high[1] - low[1]) / whole[0], (high[2] - low[2]) / whole[1])

    ways = [apart(low, high) for low, high in pairwise(known)]
    while len(known) < points and max(ways, default=0.0) > _SAME:
        at = ways.index(max(ways))
        low, high = known[at], known[at + 1]
        found = solved((high[2] - low[2]) / (high[1] - low[1])) if high[1] > low[1] else None
        room = _SAME * (high[1] - low[1])
        if found is None or not low[1] + room < found[1] < high[1] - room:
            ways[at] = 0.0  # nothing is better than what lies between the two
        else:
            known.insert(at + 1, found)
            ways[at : at + 1] = [apart(low, found), apart(found, high)]
    return [*lost, *((one[0], asked.trade(one[3])) for one in known)]


class _OverReviews:
    """The same of a tree of decisions; answers are policies. What a scenario would bring is not asked: policies trade
    again as news comes.
    """

    points, knows_scenarios = 6, False

    def __init__(self, book: Book) -> None:
        self.outlook, self.start = build_outlook(book), Position(book.weights, book.cash / book.value)
        self._book, self._limits, self._reviews = book, Limits.of(book), build_review_tree(book, self.outlook)
        self._names: FoundNames | None = None
        self._own, self._tails = self._staged(book), TailPolicies(self.start, self._limits)
        if self._own.tree.nodes == 1 and self._own.utility.tail is not None:
            self.points = POINTS
        full = at_full_caution(book) if book.settings.question else book
        self._sets = build_multistage_mandate(full, self.outlook, reviews=self._reviews).ambiguities
        self.mandate, self._around = self._own.mandates[0], self._own.around
        self.cautious = self.mandate.wanting(ambiguity=self._sets[0].of_scenarios)
        nothing = 0 * self.start.holdings
        try:
            self.held = policy_after_first_trades(self._own, self.start, nothing, self._limits, ruled=False)
        except Infeasible:  # nothing that is done later would keep the rules
            self.held = buy_and_hold_policy(self._own, self.start, nothing, ruled=False)

    def _staged(self, book: Book) -> MultistageMandate:
        own = build_multistage_mandate(book, self.outlook, reviews=self._reviews)
        if self._names is None:  # those of the book, at every aversion and caution
            own, self._names = of_chosen_names(book, self.outlook, own, self.start)
        else:
            own = own.choosing(self._names.held)
        return with_hindsight(own, self.start, self._limits)

    def _solved(self, staged: MultistageMandate) -> Policy:
        """The policy, risk on the way being charged first around the one before."""
        policy = self._tails.solve(replace(staged, around=self._around))
        self._around = policy.around
        return policy

    def _tried(self, staged: MultistageMandate) -> Policy | UnsolvedProblem:
        try:
            return self._solved(staged)
        except (Infeasible, NotSolved) as error:
            return UnsolvedProblem(type(error).__name__, str(error))

    def plan(self) -> Policy:
        """The book's policy."""
        return self._solved(self._own)

    def by_aversion(self, points: int) -> tuple[str, list[tuple[float, Policy | UnsolvedProblem]]] | None:
        """Along what the objective weighs risk by; None where it has no such number."""
        wanted = self._book.settings.mandate
        key = next((key for key in _WEIGHED if key in wanted.traits.keys), None)
        if key is None:
            return None
        spread = _WEIGHED[key]
        stated = float(getattr(wanted, key) or 1.0)
        found = list[tuple[float, Policy | UnsolvedProblem]]()
        steps = np.linspace(0.0, 1.0, points) if spread is None else stated * np.geomspace(spread, 1 / spread, points)
        for at in (float(f"{step:.2g}") for step in steps):  # a power of few digits is an exact cone
            if (weighed := self._own.utility.with_tail(at)) is not None:
                staged = replace(self._own, utility=weighed)
            else:
                settings = self._book.settings.model_copy(update={"mandate": wanted.model_copy(update={key: at})})
                staged = self._staged(replace(self._book, settings=settings))
            found.append((at, self._tried(staged)))
        return key, sorted(found, key=lambda one: -one[0])

    def guarded(self, answer: float, regime: float) -> Policy | UnsolvedProblem:
        """The best at so much of the whole radius about each axis."""
        return self._tried(replace(self._own, ambiguities=self._at(answer, regime)))

    def _at(self, answer: float, regime: float) -> tuple[Ambiguity, ...]:
        return tuple(one.at_caution(answer, regime) for one in self._sets)

    def within(self, level: float, k: int | None = None) -> Policy | UnsolvedProblem:
        """The best with so much turnover today at most."""
        del k
        today, *later = self._own.mandates
        return self._tried(replace(self._own, mandates=(_capped(today, level), *later)))

    def loss(self, policy: Policy, part: float | None = None) -> float:
        """Minus its certainty equivalent under the book's sets, or under a part of the whole."""
        if part is None:
            return -policy.equivalent
        losses = policy.under(self._at(part, part)).losses
        return -self._own.utility.equivalent(float(losses[0]))

    def losses(self, policy: Policy, figures: Figures) -> tuple[float, float]:
        """If the belief is right, and under the whole sets."""
        del figures
        return self.loss(policy, 0.0), self.loss(policy, 1.0)

    def today(self, policy: Policy) -> Trade:
        """What is traded today."""
        return policy.trade(0)


_WEIGHED: Mapping[str, float | None] = {"relative_risk_aversion": 4.0, "risk_aversion": 8.0, "cvar_weight": None}
"""What objectives of a tree weigh risk by: so many times the book's own and as small a part of it; else from 1 to 0."""
_Asked: TypeAlias = _OnePeriod | _OverReviews


def _capped(mandate: Mandate, level: float) -> Mandate:
    return replace(mandate, linear_rules=(*mandate.linear_rules, Turnover(level)))


def _least_turnover(asked: _Asked) -> float:
    """What must be traded today to keep every rule, to a basis point above."""
    mandate, capped = asked.mandate, _capped(asked.mandate, 0.0)
    rules = ElasticProgram(asked.start, asked.outlook, capped)
    own = len(mandate.rows.labels)  # its first row is behind all others
    place = next(i for i, member in enumerate(rules.members) if own in member.rows)
    others = [i for i in range(len(rules.members)) if i != place]
    found = rules.elastic({place: 1.0}, kept=others)
    return 0.0 if found is None else max(round_loosened(float(found.by[place]), 1.0), 0.0)


class _Measured:
    """Points measured against the plan, the plan that trusts the belief, and the whole set."""

    def __init__(self, book: Book, asked: Any, plan: Any) -> None:
        self._asked, self._plan = asked, asked.today(plan)
        self._axes = dict(_radii(book, asked))
        nominal = asked.guarded(0.0, 0.0) if self._axes else plan
        trusting = plan if isinstance(nominal, UnsolvedProblem) else nominal
        self._right, self._wrong = asked.losses(trusting, self._figures(trusting))

    def axes(self, points: int) -> Iterator[tuple[str, Iterable[tuple[float, Any]]]]:
        """Each axis with the answers along it."""
        if (by_aversion := self._asked.by_aversion(points)) is not None:
            yield by_aversion
        for axis, (answer, regime) in self._axes.items():
            parts = np.linspace(0.0, 1.0, points).tolist()
            yield axis, ((part, self._asked.guarded(part * answer, part * regime)) for part in parts)

    def _figures(self, answer: Any) -> Figures:
        return return_figures(self._asked.outlook, self._asked.cautious, self._asked.today(answer))

    def point(self, at: float, answer: Any) -> FrontierPoint:
        """One point."""
        asked, trade = self._asked, self._asked.today(answer)
        figures = self._figures(answer)
        right, wrong = asked.losses(answer, figures)
        return FrontierPoint(
            at,
            figures,
            (right - self._right) * 1e4,
            (self._wrong - wrong) * 1e4,
            turnover(trade),
            distance(trade, self._plan),
            tuple(map(float, trade.all_weights)),
        )


def turnover(trade: Trade) -> float:
    """The larger of purchases and sales, as a fraction of the account."""
    return max(float(trade.bought.sum()), float(trade.sold.sum())) / trade.value_before


def distance(one: Trade, other: Trade) -> float:
    """Half the sum of differences of weights, cash among them."""
    return float(np.abs(one.all_weights - other.all_weights).sum()) / 2


def _radii(book: Book, asked: _Asked) -> Iterator[tuple[str, tuple[float, float]]]:
    """Each axis of caution as how much of it is about the answer and the regime; none where no radius can change."""
    whole = asked.cautious.ambiguity
    if book.settings.question is None:
        if whole.reach > 0:
            yield "set", (1.0, 1.0)
        return
    yield ABOUT[0], (1.0, 0.0)
    if any(reach > 0 for reach in (whole.regime_reach(book.settings.hypotheses) or {}).values()):
        yield ABOUT[1], (0.0, 1.0)
        yield "both", (1.0, 1.0)


def _optima(asked: _OnePeriod, plan: Trade) -> Iterator[ScenarioOptimum]:
    for k, (name, probability) in enumerate(zip(asked.outlook.scenarios, asked.outlook.probabilities, strict=True)):
        mandate, outlook = asked.if_certain(k)
        best = asked.best(mandate, outlook)
        if isinstance(best, UnsolvedProblem):
            yield ScenarioOptimum(name, float(probability), None, None, None, None, None)
            continue
        least = mandate.loss(best, outlook)
        yield ScenarioOptimum(
            name, float(probability), -least, distance(asked.held, best), distance(plan, best),
            mandate.loss(asked.held, outlook) - least, mandate.loss(plan, outlook) - least,
        )  # fmt: skip


def _ladder(asked: Any, plan: Any) -> tuple[Rung, ...]:
    """From what is held to the plan, beginning with the least turnover at which a plan keeps the rules."""
    least, most = _least_turnover(asked), turnover(asked.today(plan))
    step = next((rung for rung in _RUNGS if most - least <= rung * _MOST_RUNGS), most)
    levels = [step * rung for rung in range(1, int(np.ceil(most / step - 1e-9))) if step * rung > least + _NOTHING]
    if 0 < least < most - _NOTHING:
        levels.insert(0, least)
    at_most = [(0.0, asked.held), *((level, asked.within(level)) for level in levels), (most, plan)]
    return tuple(_rung(asked, level, answer) for level, answer in at_most if not isinstance(answer, UnsolvedProblem))


def _rung(asked: Any, level: float, answer: Any) -> Rung:
    certain, held, trade = list[float | None](), asked.today(asked.held), asked.today(answer)
    for k in range(len(asked.outlook.scenarios) if asked.knows_scenarios else 0):
        own = asked.within(level, k) if level else held
        mandate, outlook = asked.if_certain(k)
        lost = None if isinstance(own, UnsolvedProblem) else mandate.loss(own, outlook)
        certain.append(None if lost is None else mandate.loss(held, outlook) - lost)
    before, after = (asked.outlook.portfolio_returns(one.values, one.cash) + one.value for one in (held, trade))
    kept = all(reading.excess <= _KEEPS for reading in asked.mandate.readings(trade, asked.outlook))
    gain = asked.loss(asked.held) - asked.loss(answer)
    return Rung(level, gain, tuple(map(float, after - before)), tuple(certain), kept)
