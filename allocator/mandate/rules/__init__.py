"""Rules: one frozen class, one formula.

A linear rule answers in two independent ways. `rows` is its formula as coefficients, which the program, the whole-lot
search and the lower bound share. `readings` is the same formula on money after the trades, in plain arithmetic, which
is what the certificate checks: it never sees a coefficient. A convex rule is the supremum of linear ones: instead of
rows it has a `tangent` for each lawful direction.
"""

from __future__ import annotations

from allocator.mandate.rules.convex import ConvexRule as ConvexRule
from allocator.mandate.rules.convex import LargestWeights as LargestWeights
from allocator.mandate.rules.convex import VolatilityLimit as VolatilityLimit
from allocator.mandate.rules.convex import WorstCaseFloor as WorstCaseFloor
from allocator.mandate.rules.ranges import AtLeast as AtLeast
from allocator.mandate.rules.ranges import AtMost as AtMost
from allocator.mandate.rules.ranges import ExposureLimit as ExposureLimit
from allocator.mandate.rules.ranges import InstrumentCaps as InstrumentCaps
from allocator.mandate.rules.ranges import InstrumentFloors as InstrumentFloors
from allocator.mandate.rules.ranges import Ratio as Ratio
from allocator.mandate.rules.reading import LinearRule as LinearRule
from allocator.mandate.rules.reading import Reading as Reading
from allocator.mandate.rules.reading import Trade as Trade
from allocator.mandate.rules.reading import slack as slack
from allocator.mandate.rules.returns import MinimumExpectedReturn as MinimumExpectedReturn
from allocator.mandate.rules.returns import ScenarioFloor as ScenarioFloor
from allocator.mandate.rules.returns import StressFloor as StressFloor
from allocator.mandate.rules.rows import PERCENT as PERCENT
from allocator.mandate.rules.rows import Rows as Rows
from allocator.mandate.rules.rows import limit_in_words as limit_in_words
from allocator.mandate.rules.rows import percent as percent
from allocator.mandate.rules.rows import some_rows as some_rows
from allocator.mandate.rules.rows import stacked as stacked
from allocator.mandate.rules.rows import widened as widened
from allocator.mandate.rules.trading import Forbidden as Forbidden
from allocator.mandate.rules.trading import NoTrade as NoTrade
from allocator.mandate.rules.trading import Participation as Participation
from allocator.mandate.rules.trading import Turnover as Turnover
