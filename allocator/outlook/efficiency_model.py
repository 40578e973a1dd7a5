"""The efficiency model: from what thought compression does to a market, to what each instrument is worth in a scenario.

Market block: K scenarios, each an answer to the replicability question with a demand regime.
Instrument block: N instruments, each with signed loadings on the drivers. Everything is vectorised over K × N, and over
draws of the parameters before them: arrays (K,) may be (draws, K) throughout, and a shared parameter (draws, 1).
Exposures and elasticities are judgements: what this file computes is their arithmetic, not their truth.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import combinations
from math import factorial
from typing import TypeAlias

import numpy as np

from allocator.outlook.efficiency_model_settings import HYPOTHESES, REGIMES
from allocator.types import Matrix, Vector

Number: TypeAlias = float | Vector
"""One number for all, or one a draw: an array (draws, 1), which goes with arrays (draws, K) over scenarios."""


def _of_none() -> Vector:
    """A parameter that is 0 for all."""
    return np.zeros(1)


@dataclass(frozen=True, eq=False)
class ModelScenarios:
    """The parameters of K scenarios; arrays (K,).

    `replicability` g: share of rivals' capacity able to adopt; `pass_through` θ: log share of the token saving that
    reaches prices; `usage_elasticity` ε and `training_elasticity` ε_T; `multiple_compression` c: log fall of valuation
    multiples; `rerating` ρ: log rise of a pure efficiency name's multiple, and fall of a capital-intensive one's;
    `entry` e: how far cheap training lets others in, at the expense of laggards; `capacity` S relative to plan.
    """

    replicability: Vector
    pass_through: Vector
    usage_elasticity: Vector
    training_elasticity: Vector
    multiple_compression: Vector
    rerating: Vector = field(default_factory=_of_none, kw_only=True)
    entry: Vector = field(default_factory=_of_none, kw_only=True)
    capacity: Vector


@dataclass(frozen=True)
class Technique:
    """What the technique does and how the market is built: the parameters that all scenarios share (units as named).

    `training_reduction` X and `token_reduction` Y are ratios ≥ 1; `adoption_years` T_a; `training_share` ω of compute
    demand; `owner_share` s_O and `share_sensitivity` η_s; `rent_elasticity` ξ with its clip; `salvage` the redeployable
    share of idle capex; `least_value` the floor of a value multiplier; `rival_margin` m̄ the gross margin that rivals
    give up before they stop selling, so that no price is below the marginal seller's cash cost; None: nobody stops.
    """

    training_reduction: Number = 10.0
    token_reduction: Number = 2.7
    adoption_years: Number = 0.75
    training_share: Number = 0.45
    owner_share: Number = 0.15
    share_sensitivity: Number = 0.5
    rent_elasticity: Number = 0.6
    rent_low: Number = 0.35
    rent_high: Number = 1.6
    salvage: Number = 0.4
    least_value: Number = 0.02
    rival_margin: Number | None = None


@dataclass(frozen=True, eq=False)
class Market:
    """The market in K scenarios, as multiples of the status quo; arrays (K,).

    `passed_on` is the price that pass-through alone asks for, `price` P per task, `usage` Q tasks, `tokens` M_C
    inference tokens, `training` M_T training spend, `demand` D for compute, `rent` κ per unit, `stranded` σ share of
    committed capex lost, `owner_share` and `rival_share` multiples of market share, `diffusion` a, `served` φ share of
    tasks served with the technique, `capacity` S over plan.
    """

    diffusion: Vector
    served: Vector
    capacity: Vector
    passed_on: Vector
    price: Vector
    usage: Vector
    tokens: Vector
    training: Vector
    demand: Vector
    rent: Vector
    stranded: Vector
    owner_share: Vector
    rival_share: Vector
    scenarios: ModelScenarios

    @property
    def revenue(self) -> Vector:
        """Market revenue P·Q."""
        return self.price * self.usage


@dataclass(frozen=True, eq=False)
class Loadings:
    """How much of each of N instruments' value hangs on each driver; arrays (N,).

    `training`, `inference`, `capacity`, `application`, `other` sum to one (training is negative for a buyer of
    compute). `owner` o from 0 (laggard) to 1 (owner of the technique); `gross_margin` m₀ of inference;
    `multiple_loading` ℓ; `efficiency_tilt` E − C, its share of efficiency less that of capital intensity;
    `committed_capex` K over value; `required_return` k a year; an adopter's `token_share` τ of
    revenue, share `passed_on` ϑ to its customers, `application_margin` m_A and `application_elasticity` ε_A.
    """

    training: Vector
    inference: Vector
    capacity: Vector
    application: Vector
    other: Vector
    owner: Vector
    gross_margin: Vector
    multiple_loading: Vector
    committed_capex: Vector
    required_return: Vector
    token_share: Vector
    passed_on: Vector
    application_margin: Vector
    application_elasticity: Vector
    efficiency_tilt: Vector = field(default_factory=_of_none)


@dataclass(frozen=True)
class Driver:
    """What moves a name's value by itself: quantities of the market that leave the status quo with it, and a formula.

    A formula takes the market and the names' loadings of each `column`, of which a blank tells several apart; `scale`
    (K, N) multiplies a name's value, then `loss` (K, N) is taken from it.
    """

    name: str
    quantities: tuple[str, ...] = ()
    column: str = ""
    scale: Callable[..., Matrix] | None = None
    loss: Callable[..., Matrix] | None = None

    def of_names(self, loadings: Loadings) -> Iterator[Vector]:
        """(N,) loadings of each column."""
        return (getattr(loadings, name) for name in self.column.split())


def _multiples(m: Market, compressed: Vector, tilt: Vector) -> Matrix:
    change: Matrix = m.scenarios.rerating * tilt - m.scenarios.multiple_compression * compressed
    return np.exp(change)


DRIVERS = (
    Driver("training demand", ("training",)),
    Driver("token volume", ("tokens", "usage", "diffusion")),
    Driver("price", ("price",)),
    Driver("rent", ("rent", "capacity")),  # supply sets capacity other than planned: no token is sold or saved by it
    Driver("share shift", ("owner_share", "rival_share")),
    Driver("stranded capex", column="committed_capex", loss=lambda m, capex: capex * m.stranded),
    Driver("multiple", column="multiple_loading efficiency_tilt", scale=_multiples),
)
"""What a value multiplier is attributed to. A driver of one's own is a row here, with its column as a field of
`Loadings` (0 where a name has none) and of `exposures.yaml`, and its parameter, if it has one, as a field of
`ModelScenarios` and of `[scenarios.*]`."""
_STATUS_QUO = {"diffusion": 0.0}
"""Of a market's quantities; of all others 1."""


def market_quantities(scenarios: ModelScenarios, technique: Technique, years: float) -> Market:
    """The market block at a horizon of `years`."""
    s, t = scenarios, technique
    g, theta, log_y, log_x = s.replicability, s.pass_through, np.log(t.token_reduction), np.log(t.training_reduction)
    spread = np.asarray(1 - np.exp(-years / np.asarray(t.adoption_years)))
    a = np.broadcast_to(spread, np.broadcast_shapes(np.shape(g), np.shape(spread)))
    served = t.owner_share + (1 - t.owner_share) * g
    training = np.exp(a * served * (s.training_elasticity - 1) * log_x)
    asked = -a * theta * log_y
    log_price = _supported(asked, a, served, training, s, t)
    usage = np.exp(-s.usage_elasticity * log_price)
    tokens = np.exp(-s.usage_elasticity * log_price - a * served * log_y)
    demand = t.training_share * training + (1 - t.training_share) * tokens
    used = demand / s.capacity
    shift = np.exp(a * (1 - g) * t.share_sensitivity * log_y)
    whole = t.owner_share * shift + 1 - t.owner_share
    return Market(
        diffusion=a,
        served=served,
        capacity=s.capacity,
        passed_on=np.exp(asked),
        price=np.exp(log_price),
        usage=usage,
        tokens=tokens,
        training=training,
        demand=demand,
        # through its logarithm: a power that no float holds is still a clipped rent
        rent=np.clip(np.exp(np.minimum(t.rent_elasticity * np.log(used), 700.0)), t.rent_low, t.rent_high),
        stranded=np.maximum(0.0, 1 - used) * (1 - t.salvage),
        owner_share=shift / whole,
        rival_share=np.exp(-s.entry * a * served * log_x) / whole,
        scenarios=scenarios,
    )


_STEPS = 5
"""Of Halley's method: the hardest parameters that a book may state take four, and a test tries them."""
_CHUNK = 16_384
"""Prices looked for together: what a processor's cache holds."""


def _supported(asked: Vector, a: Vector, served: Vector, training: Vector, s: ModelScenarios, t: Technique) -> Vector:
    """Log price: what pass-through asks for, but no less than the marginal seller's cash cost, at the rent that this
    price makes: p ≥ ln(1 − m̄) − a·g·ln Y + ln κ(p), ln κ = clip(ξ·ln(A + B·e^(−εp))).

    The right side falls as p rises: there is one root, and where the rent is clipped, the root clipped is the root. It
    is looked for from where training's or inference's demand alone would have it: there is at most ξ·ln 2 to go. (Sixty
    halvings find the same, ten times slower.)
    """
    if t.rival_margin is None:
        return asked
    log_y = np.log(t.token_reduction)
    cost = np.log1p(-np.asarray(t.rival_margin)) - a * s.replicability * log_y
    trained = t.training_share * training / s.capacity
    answered = (1 - np.asarray(t.training_share)) / s.capacity * np.exp(-a * served * log_y)
    parts = np.broadcast_arrays(asked, cost, trained, answered, s.usage_elasticity, t.rent_elasticity,
                                np.log(t.rent_low), np.log(t.rent_high))  # fmt: skip
    price = np.empty(parts[0].shape)
    rows = max(1, _CHUNK * len(price) // price.size)
    for at in range(0, len(price), rows):
        price[at : at + rows] = _marginal_price(*(part[at : at + rows] for part in parts))
    return price


def _marginal_price(
    asked: Vector, cost: Vector, trained: Vector, answered: Vector, elasticity: Vector, rent: Vector, *clip: Vector
) -> Vector:
    """The log price that sellers support, or what is asked for where that is more; arrays of one shape."""
    lowest, highest = clip
    at_asked = rent * np.log(trained + answered * np.exp(-elasticity * asked))
    below = cost + np.clip(at_asked, lowest, highest) > asked
    price = asked.copy()
    cost, trained, answered, elasticity, rent, lowest, highest = (
        part[below] for part in (cost, trained, answered, elasticity, rent, lowest, highest)
    )
    with np.errstate(divide="ignore", invalid="ignore"):  # nobody trains, or nobody asks: the other demand begins
        root = np.fmax(cost + rent * np.log(trained), (cost + rent * np.log(answered)) / (1 + rent * elasticity))
    for _ in range(_STEPS):
        inference = answered * np.exp(-elasticity * root)
        demand = trained + inference
        falls = rent * elasticity * inference / demand
        slope, left = 1 + falls, cost + rent * np.log(demand) - root
        root = root + left * slope / (slope * slope - 0.5 * left * falls * elasticity * trained / demand)
    price[below] = np.clip(root, cost + lowest, cost + highest)
    return price


def value_multipliers(m: Market, loadings: Loadings, technique: Technique) -> Matrix:
    """(K, N) value of each instrument in each scenario, as a multiple of today's."""
    return _values(m, loadings, technique, frozenset(DRIVERS))


def _values(market: Market, e: Loadings, t: Technique, moved: frozenset[Driver]) -> Matrix:
    """Value multipliers when only the drivers in `moved` have left the status quo."""
    m, trained = _beside_names(market, moved), _over_names(t.training_share)
    demand = trained * m.training + (1 - trained) * m.tokens
    owned = e.owner + (1 - e.owner) * m.scenarios.replicability  # φ_i
    saving = np.exp(-m.diffusion * owned * _over_names(np.log(t.token_reduction)))
    share = e.owner * m.owner_share + (1 - e.owner) * m.rival_share
    margin = m.price - (1 - e.gross_margin) * m.rent * saving
    inference = m.usage * share * np.maximum(margin, 0.0) / e.gross_margin  # nobody sells at a loss
    capacity = np.minimum(demand, m.capacity) * m.rent
    cheaper = e.token_share * (1 - m.price)
    application = (1 - cheaper * e.passed_on) ** -e.application_elasticity
    application = application * (e.application_margin + cheaper * (1 - e.passed_on)) / e.application_margin
    value = e.training * m.training * m.rent + e.inference * inference + e.capacity * capacity
    value = value + e.application * application + e.other
    for driver in (one for one in DRIVERS if one in moved):
        if driver.scale is not None:
            value = value * driver.scale(m, *driver.of_names(e))
    for driver in (one for one in DRIVERS if one in moved):
        if driver.loss is not None:
            value = value - driver.loss(m, *driver.of_names(e))
    return np.maximum(value, _over_names(t.least_value))


def _beside_names(market: Market, moved: frozenset[Driver]) -> Market:
    """The market as it goes with arrays whose last axis is the names, what has not moved at the status quo."""
    arrays = {name: np.asarray(array)[..., None] for name, array in vars(market).items() if name != "scenarios"}
    still = [name for driver in DRIVERS if driver not in moved for name in driver.quantities]
    arrays |= {name: np.full(arrays[name].shape, _STATUS_QUO.get(name, 1.0)) for name in still}
    parameters = {name: np.asarray(array)[..., None] for name, array in vars(market.scenarios).items()}
    return Market(**arrays, scenarios=ModelScenarios(**parameters))


def _over_names(shared: Number) -> Vector:
    """A shared parameter, as it goes with arrays whose last axis is the names."""
    return np.asarray(shared, dtype=np.float64)[..., None]


def driver_attribution(m: Market, loadings: Loadings, technique: Technique) -> dict[str, Matrix]:
    """(K, N) by driver, what it adds to the value multiplier: Shapley values, which sum to V − 1 exactly.

    Shapley (1953): a driver's average effect over every order in which the drivers can move; no order is a fact.
    """
    count = len(DRIVERS)
    coalitions = [frozenset(some) for size in range(count + 1) for some in combinations(DRIVERS, size)]
    worth = {coalition: _values(m, loadings, technique, coalition) for coalition in coalitions}
    parts = {driver.name: np.zeros_like(worth[frozenset()]) for driver in DRIVERS}
    for coalition, value in worth.items():
        others = len(coalition) - 1
        for driver in coalition:
            weight = factorial(others) * factorial(count - others - 1) / factorial(count)
            parts[driver.name] += weight * (value - worth[coalition - {driver}])
    return parts


SPLITS: dict[str, Callable[[Loadings], Vector]] = {
    "compute_bought": lambda e: np.maximum(-e.training, 0.0) + np.maximum(-e.capacity, 0.0),
    "compute_sold": lambda e: np.maximum(e.training, 0.0) + np.maximum(e.capacity, 0.0),
}
"""(N,) parts of a name's value, beside the buckets: who buys compute gains where spending on it collapses, who sells it
loses, and both are called capital-intensive."""


def scenario_returns(values: Matrix, loadings: Loadings, anchor: Vector, years: float) -> Matrix:
    """(K, N) simple returns over the horizon: (1 + k)^years · V / anchor − 1, the anchor (N,) or (draws, 1, N).

    With `anchor` = Σ_k p^mkt_k V_k every name returns its required return under the market's own probabilities.
    """
    result: Matrix = (1 + loadings.required_return) ** years * values / anchor - 1
    return result


# How far the model's own numbers may be wrong where a book does not say.
#
TECHNIQUE_RANGES = {
    "token_reduction": (2.07, 2.71),
    "training_reduction": (3.0, 10.0),
    "adoption_years": (0.5, 1.5),
    "training_share": (0.3, 0.6),
    "owner_share": (0.10, 0.25),
    "share_sensitivity": (0.25, 1.0),
    "rent_elasticity": (0.3, 0.9),
    "salvage": (0.2, 0.6),
}
"""Illustrative, but for the token reduction: 120/58 and 157/58, against the two rivals that it was measured against.

The training reduction was measured against a weaker model than those rivals are, so less than ten is looked at.
"""
_EXPANDING, _SHRINKING = REGIMES
USAGE_RANGES = {_EXPANDING: (1.47, 3.32), _SHRINKING: (0.3, 0.9)}
"""Usage elasticity by regime: five to ten times the usage at a price two to three times lower; illustrative."""
_FOR_ALL, _FOR_ONE = HYPOTHESES
PASS_THROUGH_RANGES = {_FOR_ALL: (0.7, 1.0), _FOR_ONE: (0.36, 0.70)}
"""By hypothesis: a saving of 30 to 50 % reaches prices at .36 to .70; more where everybody has the technique."""
