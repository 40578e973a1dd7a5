"""What became of the documents' old keys and texts: the one table that `golden.py` compares through."""

from __future__ import annotations

from tests.golden_compare import Gone, Ignored, New, Table

_OF_PLAN: dict[str, str | Gone] = {
    f"plan.{old}": f"plan.{new}"
    for old, new in {
        "worth": "decision",
        "worth.share": "decision.positive_share",
        "reasons": "attribution",
        "reasons.*.money": "attribution.*.funding",
        "reasons.*.*.money": "attribution.*.*.funding",
        "figures.*.worst_case_return": "figures.*.adverse_expected_return",
        "figures.*.active_worst_case_return": "figures.*.active_adverse_expected_return",
        "scenarios.*.adversary": "scenarios.*.adverse_probability",
        "given_way": "relaxed",
        "given_way.*.tier": "relaxed.*.priority",
        "binding": "shadow_prices",
        "certificate.worst_excess_target": "certificate.largest_violation_target",
        "certificate.worst_excess_after": "certificate.largest_violation_after",
    }.items()
}
_OF_STAGES: dict[str, str | Gone] = {
    f"stages.{old}": new if isinstance(new, Gone) else f"plan.{new}"
    for old, new in {
        "": "",
        "release": "policy.caution_schedule",
        "release.*.caution_bps": "policy.caution_schedule.*.cost_of_robustness_bps",
        "policy": "policy.nodes",
        "proof": "policy.proof",
        "announced": "followed",
        "worth": "decision",
        "worth.equivalent": "policy.certainty_equivalent_with_lots",
        "worth.holding_equivalent": "policy.certainty_equivalent_of_holding",
        "worth.rounding_bps": "rounding_bps",
        "positions.*.before": "positions.*.weight_before",
        "positions.*.target": "positions.*.weight_target",
        "positions.*.after": "positions.*.weight_after",
        "figures.*.worst_case_return": "figures.*.adverse_expected_return",
        "figures.*.active_worst_case_return": "figures.*.active_adverse_expected_return",
        "certificate.gap": Gone("gap_bps says it as for every other plan"),
        "certificate.primal": "certificate.canonical.primal",
        "certificate.dual": "certificate.canonical.dual",
    }.items()
    if old
}
_OF_EXPLAIN: dict[str, str | Gone] = {
    f"explain.{old}": f"explain.{new}"
    for old, new in {
        "reasons": "attribution",
        "reasons.*.money": "attribution.*.funding",
        "reasons.*.*.money": "attribution.*.*.funding",
        "instrument.reasons": "instrument.attribution",
        "instrument.reasons.money": "instrument.attribution.funding",
        "flips": "break_even",
        "flips.ahead": "break_even.ahead_bps",
        "positions.*.worst_case_return": "positions.*.adverse_expected_return",
        "positions.*.margin": "positions.*.marginal_value",
        "positions.*.margin.money": "positions.*.marginal_value.funding",
        "positions.*.to_more": "positions.*.break_even_excess_return",
        "positions.*.to_less": "positions.*.spare_return",
    }.items()
}
_VERDICTS = {"must trade": "trade required", "trade": "recommended", "hold": "no trade"}
_CONVEX = {"norm": "risk", "largest": "holdings"}
"""What a proof says that a convex rule looks at; its set says the rest."""
_HEADED = ("explain", "outlook", "plan", "stress", "waiting")
_HEADING = ("account", "currency", "value", "until", "horizon_months", "announcement_share", "digestion_months")
_PARTS = New("an expected return has its parts")
_ONE_PLAN = New("one document for plans with and without reviews")
_NEW: dict[str, New] = {
    f"plan.{key}": _ONE_PLAN
    for key in (
        "book.until", "book.announcement_share", "objective.kind", "objective.label", "objective.time_consistent",
        "policy", "followed", "fingerprints", "figures.*.volatility", "figures.*.expected_shortfall",
        "certificate.decisions", "certificate.outcomes",
    )
}  # fmt: skip
_NEW_OF_STAGES: dict[str, New] = {
    f"plan.{key}": _ONE_PLAN
    for key in (
        "positions.*.quantity_before", "positions.*.quantity_after", "positions.*.active_weight_after",
        "positions.*.no_trade_from", "positions.*.no_trade_to", "decision.positive_share", "decision.lowest_bps",
        "decision.median_bps", "decision.highest_bps", "attribution", "figures.target", "scenarios", "relaxed",
        "shadow_prices", "stability_l1", "risk_source", "certificate.bound", "certificate.gap_bps",
        "certificate.allowed_bps", "certificate.rules_checked",
        "certificate.largest_violation_target", "certificate.largest_violation_after", "proof",
    )
}  # fmt: skip
_OF_STRESS: dict[str, str | Gone] = {
    f"stress.shocks.{place}.{old}{old_figure}": f"stress.shocks.{place}.{new}{new_figure}"
    for place in ("no_shock", "effects.*")
    for old, new in (("held", "current"), ("plan", "proposed"), ("again", "reoptimized"))
    for old_figure, new_figure in (
        ("", ""), (".at_once", ".immediate_return"), (".expected", ".expected_return"),
        (".worst_case", ".adverse_expected_return"),
    )
}  # fmt: skip
_OF_STRESS |= {
    f"stress.{old}": f"stress.{new}"
    for old, new in {
        "shocks.effects.*.rules_broken": "shocks.effects.*.limit_breaches",
        "shocks.effects.*.told": "shocks.effects.*.claimed_signs",
        "shocks.effects.*.told.*.expected": "shocks.effects.*.claimed_signs.*.claimed",
        "reverse.portfolios.*.largest_loss": "reverse.portfolios.*.worst_scenario_loss",
        "reverse.portfolios.*.shifts.*.sigmas": "reverse.portfolios.*.shifts.*.equivalent_z_score",
        "reverse.portfolios.*.shifts.*.words": "reverse.portfolios.*.shifts.*.rating",
        "reverse.portfolios.*.parameters.*.own": "reverse.portfolios.*.parameters.*.base_value",
        "reverse.portfolios.*.parameters.*.least_loss": "reverse.portfolios.*.parameters.*.smallest_loss",
        "reverse.portfolios.*.parameters.*.most_loss": "reverse.portfolios.*.parameters.*.largest_loss",
        "reverse.portfolios.*.parameters.*.words": "reverse.portfolios.*.parameters.*.rating",
        "beliefs.flips": "beliefs.reversals",
        "beliefs.flips.*.ahead": "beliefs.reversals.*.advantage",
        "beliefs.flips.*.in_words": "beliefs.reversals.*.rating",
        "beliefs.axes.*.points.*.worth": "beliefs.axes.*.points.*.objective",
        "beliefs.axes.*.points.*.worst_case_return": "beliefs.axes.*.points.*.adverse_expected_return",
        "beliefs.axes.*.points.*.plan_short": "beliefs.axes.*.points.*.plan_shortfall",
        "beliefs.axes.*.points.*.plan_breaks": "beliefs.axes.*.points.*.plan_limit_breach",
        "beliefs.axes.*.interval.short_bps": "beliefs.axes.*.interval.shortfall_bps",
        "beliefs.axes.*.interval.short_low_bps": "beliefs.axes.*.interval.shortfall_low_bps",
        "beliefs.axes.*.interval.short_high_bps": "beliefs.axes.*.interval.shortfall_high_bps",
        "beliefs.axes.*.interval.broken": "beliefs.axes.*.interval.limit_breaches",
        "map.points.*.worth": "map.points.*.objective",
        "model.parameters.*.own": "model.parameters.*.base_value",
        "model.optimised_again": "model.reoptimized",
        "model.optimised_again.weights.*.before": "model.reoptimized.weights.*.current",
        "model.optimised_again.weights.*.planned": "model.reoptimized.weights.*.proposed",
        "model.optimised_again.weights.*.left": "model.reoptimized.weights.*.unchanged",
    }.items()
}
_STRESS_TEXTS = {
    r"^allocator\.stress/1$": "allocator.stress/2",
    r"--within is how wrong beliefs may be, which are not": "--within applies to --beliefs, which is not",
    r"which is not asked: add --beliefs": "which is not requested: add --beliefs",
    r"^worst-case return$": "adverse expected return",
    r"^worst-case return over holdings$": "adverse expected return less current",
    r"^optimised again$": "re-optimised",
    r"^a stretch$": "unlikely",
    r"^far-fetched$": "very unlikely",
    r"^already there$": "already the case",
    r"^no range is stated$": "no range stated",
    r"^next to nothing$": "negligible change",
    r"^next to impossible$": "extreme",
    r"^a (small|large) change$": r"\1 change",
    r"^a clear change$": "moderate change",
    r"^against our belief$": "very large change",
    r"^no probability gives this loss, the maximum is ": "no probabilities give this loss; the largest is ",
    r"^the horizon is over by (.*)$": r"the horizon ends by \1, when its news is known",
    r"is solved on the tree of decisions, and belief stress is of one decision": (
        "is solved on a decision tree, and belief stress needs a plan of one decision"
    ),
    r"choose return_minus_risk without \[horizon\] reviews; `allocator waiting` and --set stress a tree": (
        "choose return_minus_risk without [horizon] reviews, or try another belief of the tree with --set"
    ),
    r"^The announcement share moves nothing here: .*$": (
        "The announcement share changes no return here: without [market] no price responds to news."
    ),
    r"^The announcement share moves no return from today: the market's probabilities are of ([0-9-]+), .*$": (
        "The announcement share changes the returns of the day of news only: the market's probabilities are of "
        r"\1, so prices already reflect all news."
    ),
    r"^the plan is not optimised again: with objective = '(.*)' every draw .*$": (
        r"the plan is not re-optimised at the draws: with objective = '\1' each draw would need the whole decision "
        "tree; its outcomes are evaluated"
    ),
}
"""What `allocator stress` called otherwise."""
_PORTFOLIO = {"holdings": "current", "plan": "proposed", "holding": "no trade"}
_PORTFOLIO_NAMES = (
    "reverse.portfolios.*.portfolio", "replay.windows.*.portfolio", "model.outcomes.*.portfolio",
    "model.importance.*.portfolio", "beliefs.reversals.*.first", "beliefs.reversals.*.second",
)  # fmt: skip
TABLE = Table(
    # "plan.certificate.wasteless": "plan.certificate.round_trip", "explain.notes": Gone("nobody read them")
    paths={
        **_OF_PLAN,
        **_OF_STAGES,
        **_OF_EXPLAIN,
        **_OF_STRESS,
        "explain.notes": Gone("one line on the screen says it of all"),
        "plan.certificate.round_trips": Gone("limits that only lost money keeps are refused, with what to loosen"),
        "error.breaches": "error.errors",
        "waiting.waiting.*.price_of_robustness_bps": "waiting.waiting.*.cost_of_robustness_bps",
        "waiting.waiting.*.insurance_bps": "waiting.waiting.*.protection_bps",
    },
    new_of={"stages": _NEW_OF_STAGES},
    new=_NEW
    | {
        **{f"{kind}.book.{key}": New("every document begins with one heading") for kind in _HEADED for key in _HEADING},
        **{
            f"plan.figures.*.{name}": _PARTS for name in ("required", "disagreement", "undigested_news", "not_anchored")
        },
        "explain.positions.*.expected_return_parts": _PARTS,
        "explain.instrument.expected_return_parts": _PARTS,
        "returns.instruments.*.parts": _PARTS,
        "check.decisions": New("free lunches are counted"),
        "check.free_lunches": New("free lunches are counted"),
        "run.inputs.plan format": New("a run of an older format is not given back as done"),
    },  # "plan.today": New("the screen showed it, the document did not")
    # "allocator.stages/1": "allocator.plan/2"
    formats={
        "allocator.error/1": "allocator.error/2",
        "allocator.waiting/1": "allocator.waiting/2",
        "allocator.stress/1": "allocator.stress/2",
        "allocator.plan/1": "allocator.plan/2",
        "allocator.stages/1": "allocator.plan/2",
        "allocator.explain/1": "allocator.explain/2",
    },
    commands={},  # "outlook": "tree", "claims": Gone("it is part of check"); an option likewise: "--share": "--shares"
    # r"^must trade$": "trade required"; a regular expression, for every text of a document and of stderr
    texts={
        **_STRESS_TEXTS,
        r"is for the tree of decisions, and this plan is of one period": (
            "is solved on the tree of decisions, and explanations are of one period"
        ),
        r"use `allocator rebalance` or rebalance_in_stages, or choose return_minus_risk": (
            "choose return_minus_risk, or look at `allocator rebalance --full` and `allocator waiting`"
        ),
        r"\bworst-case (active )?return at least": r"adverse expected \1return at least",
        r"\b1 breach; nothing": "1 error; nothing",
        r"\b(\d+) breaches; nothing": r"\1 errors; nothing",
        r"cannot hold together: ": "infeasible: these limits conflict: ",
        r"cannot be met: ": "infeasible: no portfolio meets ",
        r"^(floors|caps) add up to": r"infeasible: \1 add up to",
        r"^(return in|expected return at least)(.* is above the best)": r"infeasible: \1\2",
        r"^no whole-lot portfolio keeps": "infeasible: no whole-lot portfolio keeps",
        r"^found no whole-lot portfolio that keeps the rules": "infeasible: no whole-lot portfolio was found "
        "that keeps every rule",
        r"^the rules cannot hold together at every": "infeasible: no policy keeps every limit at every",
        r"cannot give way": "cannot be relaxed",
        # comments of the sample books
        r"worst-case return, less": "adverse expected return, less",
        r"every money amount": "every amount",
        r"when it is decided again": "when it is re-optimised",
        r"worst-case expected log of the final wealth, deciding again": "adverse expected log of the final wealth, "
        "re-optimised",
        r"The note's actors, decided again": "The note's actors, re-optimised",
        r"remove the tiers:": "remove the priorities:",
        r"remove its tier": "remove its priority",
    },
    # r"^stranded capex$": "stranded capital expenditure"; the same for keys that are labels
    keys={r"^worst-case (active )?return at least": r"adverse expected \1return at least"},
    cases={
        "rebalance books/listed --set lots.min_trade=400000": Gone(
            "no smallest set of clashing rules is looked for among whole lots; what the nearest miss is told"
        ),
        "schema stages": Gone("one document, allocator.plan/2, is of both kinds of plan"),
        "rebalance books/reviewed --set solver.time_limit_seconds=0.000001": Gone(
            "a time limit of the user's own is an error of its own, OutOfTime, with the cure that works"
        ),
    },
    words={
        "plan.decision.verdict": _VERDICTS,
        "plan.proof.convex.*.kind": _CONVEX,
        "plan.policy.proof.nodes.*.convex.*.kind": _CONVEX,
        "explain.verdict": _VERDICTS,
        **{f"stress.{place}": _PORTFOLIO for place in _PORTFOLIO_NAMES},
    },
    # "stress.beliefs.axes": Loose(1e-4, "bisected to this width")
    tolerances={
        "schema.contract": Ignored("in the new words; the documents that it describes are compared themselves"),
        "plan.fingerprints.solver": Ignored("no time limit is the default now, and sections are hashed whole"),
        "plan.fingerprints.lots": Ignored("the same"),
        "schema.schemas.stages": Ignored("one document, allocator.plan/2, is of both kinds of plan"),
    },
)
