"""What several tables and `book.toml` must agree on: the rules that no single table's contract can see.

What the mandate stands on is in `footing.py` (names) and `columns.py` (numbers), what is held in `positions.py`, what
is estimated in `estimates.py`, what is believed in `evidence.py`, what is observed in `observed.py`, what might happen
in `shocked.py`, what is guarded against in `guards.py`, what is decided when in `stages.py`, what is doubted in
`doubted.py`, what other packages add in `plugged.py`, what nobody reads in `idle.py`. Each function looks at one
agreement and yields its breaches; a table that already broke its own contract is given and yet absent here, and the
agreements that need it are left for the next run.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from allocator.book.columns import Tables, breaches_of_benchmark, breaches_of_columns, breaches_of_factors
from allocator.book.doubted import breaches_of_doubts
from allocator.book.estimates import NOT_SCENARIOS, breaches_of_estimates
from allocator.book.evidence import breaches_of_evidence
from allocator.book.footing import breaches_of_names, breaches_of_words
from allocator.book.guards import breaches_of_guards
from allocator.book.idle import idle_keys
from allocator.book.plugged import breaches_of_plugins
from allocator.book.positions import breaches_of_cash, breaches_of_positions
from allocator.book.sections import Settings
from allocator.book.settings import dotted
from allocator.book.shocked import breaches_of_shocks
from allocator.book.stages import breaches_of_stages
from allocator.errors import Breach


def breaches_of(settings: Settings, tables: Tables, account: str | None, given: Collection[str]) -> list[Breach]:
    """Every disagreement between the tables and the settings; `given` names the tables that are there, sound or not."""
    found = [*_probabilities(settings), *_scenario_names(settings), *breaches_of_words(settings), *_idle(settings)]
    found += [*breaches_of_guards(settings), *breaches_of_stages(settings, tables), *breaches_of_doubts(settings)]
    found += breaches_of_evidence(settings, tables, given)
    found += [*breaches_of_shocks(settings, tables), *breaches_of_plugins(settings)]
    found += breaches_of_benchmark(settings, given)
    if "holdings" in tables:
        found += breaches_of_positions(settings, tables, account, given)
    if "exposures" in tables:
        found += breaches_of_cash(settings, tables)
        found += [*breaches_of_names(settings, tables), *breaches_of_columns(settings, tables, given)]
    found += breaches_of_estimates(settings, tables, given)
    if "factors" in tables:
        found += breaches_of_factors(tables)
    return found


def _probabilities(settings: Settings) -> Iterator[Breach]:
    total = sum(scenario.probability for scenario in settings.scenarios.values())
    if abs(total - 1) > 1e-9:
        yield Breach(
            "book.toml",
            None,
            "scenarios.*.probability",
            f"{total:.10g}",
            "probabilities must sum to 1",
            f"the sum is {total:.10g}: {'raise' if total < 1 else 'lower'} them by {abs(1 - total):.4g} in all",
        )


def _scenario_names(settings: Settings) -> Iterator[Breach]:
    for name in settings.scenarios:
        if name.casefold() in NOT_SCENARIOS:
            yield Breach(
                "book.toml",
                None,
                dotted("scenarios", name),
                name,
                "is the name of another column of scenario_returns.csv",
                "give the scenario another name, here and there",
            )


def _idle(settings: Settings) -> Iterator[Breach]:
    for (section, key), _, reason in idle_keys(settings.model_dump(exclude_unset=True)):
        value = getattr(getattr(settings, section), key)
        if value is not None:
            yield Breach(
                "book.toml",
                None,
                dotted(section, key),
                None if isinstance(value, dict) else f"{value:g}" if isinstance(value, float) else str(value),
                f"has no effect with {reason}",
                "remove it",
            )
