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
from allocator.rules.holdings import Band as Band
from allocator.rules.holdings import Destination as Destination
from allocator.rules.holdings import ExposureLimit as ExposureLimit
from allocator.rules.holdings import InstrumentCaps as InstrumentCaps
from allocator.rules.holdings import InstrumentFloors as InstrumentFloors
from allocator.rules.holdings import RatioLimit as RatioLimit
from allocator.rules.holdings import WeightAtLeast as WeightAtLeast
from allocator.rules.holdings import WeightAtMost as WeightAtMost
from allocator.rules.returns import MinimumExpectedReturn as MinimumExpectedReturn
from allocator.rules.returns import ScenarioFloor as ScenarioFloor
from allocator.rules.returns import StressFloor as StressFloor
from allocator.rules.rows import AIM as AIM
from allocator.rules.rows import PERCENT as PERCENT
from allocator.rules.rows import LinearRule as LinearRule
from allocator.rules.rows import LooserLimit as LooserLimit
from allocator.rules.rows import Rule as Rule
from allocator.rules.rows import RuleId as RuleId
from allocator.rules.rows import RuleMeasurement as RuleMeasurement
from allocator.rules.rows import RuleRows as RuleRows
from allocator.rules.rows import Trade as Trade
from allocator.rules.rows import format_limit as format_limit
from allocator.rules.rows import format_limit_percent as format_limit_percent
from allocator.rules.rows import format_loosened as format_loosened
from allocator.rules.rows import linear_rows as linear_rows
from allocator.rules.rows import one_key_one_limit as one_key_one_limit
from allocator.rules.rows import row_slack as row_slack
from allocator.rules.rows import stack_rows as stack_rows
from allocator.rules.trading import Forbidden as Forbidden
from allocator.rules.trading import LeftAlone as LeftAlone
from allocator.rules.trading import NotEligible as NotEligible
from allocator.rules.trading import NoTrade as NoTrade
from allocator.rules.trading import OneWay as OneWay
from allocator.rules.trading import PaidOut as PaidOut
from allocator.rules.trading import Participation as Participation
from allocator.rules.trading import Turnover as Turnover
