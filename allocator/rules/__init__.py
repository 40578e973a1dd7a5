"""Rules: one frozen class, one formula.

A linear rule answers in two independent ways. `rows` is its formula as coefficients, which the program, the whole-lot
search and the lower bound share. `readings` is the same formula on money after the trades, in plain arithmetic, which
is what the certificate checks: it never sees a coefficient. A convex rule is the supremum of linear ones: instead of
rows it has a `tangent` for each lawful direction.
"""

from __future__ import annotations

from allocator.rules.convex import ConvexRule as ConvexRule
from allocator.rules.convex import LargestWeights as LargestWeights
from allocator.rules.convex import VolatilityLimit as VolatilityLimit
from allocator.rules.convex import WorstCaseFloor as WorstCaseFloor
from allocator.rules.holdings import AtLeast as AtLeast
from allocator.rules.holdings import AtMost as AtMost
from allocator.rules.holdings import ExposureLimit as ExposureLimit
from allocator.rules.holdings import InstrumentCaps as InstrumentCaps
from allocator.rules.holdings import InstrumentFloors as InstrumentFloors
from allocator.rules.holdings import Ratio as Ratio
from allocator.rules.returns import MinimumExpectedReturn as MinimumExpectedReturn
from allocator.rules.returns import ScenarioFloor as ScenarioFloor
from allocator.rules.returns import StressFloor as StressFloor
from allocator.rules.rows import PERCENT as PERCENT
from allocator.rules.rows import LinearRule as LinearRule
from allocator.rules.rows import Reading as Reading
from allocator.rules.rows import Rows as Rows
from allocator.rules.rows import Trade as Trade
from allocator.rules.rows import limit_in_words as limit_in_words
from allocator.rules.rows import percent as percent
from allocator.rules.rows import slack as slack
from allocator.rules.rows import some_rows as some_rows
from allocator.rules.rows import stacked as stacked
from allocator.rules.rows import widened as widened
from allocator.rules.trading import Forbidden as Forbidden
from allocator.rules.trading import NoTrade as NoTrade
from allocator.rules.trading import Participation as Participation
from allocator.rules.trading import Turnover as Turnover
