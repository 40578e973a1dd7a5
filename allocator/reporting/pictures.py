"""What `--plot` draws of each command: at most three charts of its document, with their titles."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from allocator.errors import BadInput
from allocator.reporting import belief_charts, plan_charts, return_charts, stress_charts
from allocator.reporting.charts import Spec
from allocator.reporting.drawings import Picture

Chart: TypeAlias = Callable[..., Spec | None]
WIDTH, MOST_CHARTS = 720, 3
CHARTS: Mapping[str, tuple[str, tuple[tuple[str, Chart], ...]]] = {
    "allocator.beliefs": (
        "Where the question stands",
        (
            ("Probability of each answer since the question was opened", belief_charts.beliefs_through_time),
            ("Scenario probabilities", belief_charts.prior_market_and_belief),
            ("Probability of each answer after the next signals", belief_charts.beliefs_after_next_signals),
        ),
    ),
    "allocator.returns": (
        "Scenario returns",
        (
            ("Return in each scenario, and expected", return_charts.returns_by_scenario),
            ("Of the expected return", return_charts.drivers_of_expected_return),
        ),
    ),
    "allocator.outlook": (
        "What may be known at each review",
        (
            ("Prices at each review, change from today in %", belief_charts.prices_by_node),
            ("Scenario probabilities at each node", belief_charts.beliefs_by_node),
        ),
    ),
    "allocator.plan": (
        "Plan",
        (
            ("Weights by name", plan_charts.weights_by_instrument),
            ("Return in each scenario", plan_charts.returns_per_scenario),
            ("How the cost of robustness falls with the evidence", plan_charts.caution_release),
            ("Why each order is made, bps of the account", plan_charts.order_attribution),
        ),
    ),
    "allocator.frontier": (
        "Frontier",
        (
            ("Return against risk, plans at other aversions to it", stress_charts.return_against_risk),
            ("What caution protects, by what it costs, bps", stress_charts.protection_against_cost),
            ("What is gained over no trade, by what may be traded, bps", stress_charts.gain_by_turnover),
        ),
    ),
    "allocator.backtest": (
        "Backtest",
        (
            ("What each account has gained, after costs", return_charts.accounts_through_time),
            ("How far it is below its highest value so far", return_charts.drawdowns_through_time),
        ),
    ),
    "allocator.trial": (
        "Trial",
        (
            ("Certainty equivalent above the nominal tree's, bps", stress_charts.equivalents_by_cell),
            ("Mean of the worst tenth above the nominal tree's, bps", stress_charts.worst_deciles_by_cell),
            ("What the rule about the default looks at, bps", stress_charts.bounds_by_caution),
        ),
    ),
    "allocator.stress": (
        "Stress",
        (
            ("Return at once under each shock", stress_charts.shocks_by_loss),
            ("Best objective over both probabilities", stress_charts.optimum_over_beliefs),
            ("Figures over draws of the model's parameters", stress_charts.model_draws),
            ("Optimal weights by the probability of an answer", stress_charts.sweep_weights),
            ("Worst windows of the price history", stress_charts.replayed_losses),
            ("Plausibility of the loss", stress_charts.plausibility_of_loss),
        ),
    ),
}
"""By the format of the document, most telling first."""


def picture(document: Mapping[str, Any]) -> Picture:
    """The charts of a document that have something to say, three at most.

    Raises:
        BadInput: none has.
    """
    heading, charts = CHARTS[str(document["format"]).partition("/")[0]]
    drawn = [(title, spec) for title, chart in charts if (spec := chart(document, width=WIDTH)) is not None]
    if not drawn:
        rule, cure = "has nothing to draw: what was asked found nothing", "ask for another part, or leave --plot out"
        raise BadInput.of("--plot", rule, cure)
    return Picture(_headed(heading, document), drawn[:MOST_CHARTS])


def _headed(heading: str, document: Mapping[str, Any]) -> str:
    book = document.get("book") or {}
    told = [book.get("name"), book.get("as_of") or document.get("as_of")]
    return " · ".join([heading, *filter(None, told)])
