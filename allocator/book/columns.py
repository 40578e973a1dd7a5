"""The columns and tables that rules, shocks and costs are measured by: there, of numbers, and without a blank."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

import pandas as pd

from allocator.book.sections import Settings
from allocator.book.settings import dotted
from allocator.contracts import contract_text, read_contract
from allocator.errors import Breach, did_you_mean

Tables = Mapping[str, pd.DataFrame]


def name_of(tables: Tables, table: str) -> str:
    """What breaches call a table, such as holdings.csv."""
    return str(tables[table].attrs.get("name", table))


def breaches_of_columns(settings: Settings, tables: Tables, given: Collection[str]) -> Iterator[Breach]:
    """What is wanted of exposures.csv and factors.csv by `[mandate]`, `[shocks]` and `[costs]`."""
    needs = _needs(settings)
    kinds = kinds_of_columns() if settings.mandate.exposures else {}
    known = [name for name, kind in kinds.items() if kind == "float64" and name in tables["exposures"]]
    known += factor_names(tables)
    for column in settings.mandate.exposures:
        key = dotted("mandate", "exposures", column)
        if column in kinds and kinds[column] != "float64":
            kind = "dates" if kinds[column].startswith("datetime") else "text"
            yield _said(key, column, f"is a column of {kind}, not of numbers", did_you_mean(column, known))
        elif column in kinds:
            needs.setdefault(column, []).append(key)
        elif column not in known and ("factors" in tables or "factors" not in given):
            rule = "no such column in exposures.csv or factors.csv"
            yield _said(key, column, rule, did_you_mean(column, known))
    for column, reasons in needs.items():
        yield from _filled(settings, tables, column, reasons)


def breaches_of_factors(tables: Tables) -> Iterator[Breach]:
    """A factor that an exposure is called like would leave open which of the two is meant; cash has no factor."""
    columns = {name.casefold(): name for name in kinds_of_columns()}
    factors, table = tables["factors"], name_of(tables, "factors")
    for name in factor_names(tables):
        if known := columns.get(name.casefold()):
            cure = "give the factor another name"
            yield Breach(table, None, name, None, f"is the name of a column of exposures.csv, '{known}'", cure)
    if "exposures" not in tables:
        return
    exposures = tables["exposures"]
    cash = exposures.loc[exposures["bucket"] == "cash", "instrument"]
    own = factors.loc[factors["instrument"].isin(cash), factor_names(tables)]
    for row, values in own.iterrows():
        for column in own.columns[values.to_numpy() != 0]:
            place = (table, int(str(row)), column, f"{values[column]:g}")
            yield Breach(*place, "cash counts 0 in every factor", "write 0, or remove the row of cash")


def breaches_of_benchmark(settings: Settings, given: Collection[str]) -> Iterator[Breach]:
    """Rules against the benchmark want one."""
    for key in ("max_tracking_error", "min_worst_case_active_return"):
        value = getattr(settings.mandate, key)
        if value is not None and "benchmark" not in given:
            cure = "add benchmark.csv, or remove the rule"
            yield _said(dotted("mandate", key), f"{value:g}", "needs benchmark.csv", cure)


def factor_names(tables: Tables) -> list[str]:
    """The factors of factors.csv; none where it is not there."""
    columns = map(str, tables["factors"]) if "factors" in tables else ()
    return [name for name in columns if name not in ("instrument", "source")]


def kinds_of_columns() -> dict[str, str]:
    """What each column that exposures.csv may have holds: float64, datetime64[ns], or a kind of text."""
    contract = read_contract(contract_text("exposures"), "exposures.yaml")
    return {str(name): str(column.dtype) for name, column in contract.columns.items()}


def _needs(settings: Settings) -> dict[str, list[str]]:
    """The columns of exposures.csv that must be filled for every name but cash, and the keys that want them."""
    needs: dict[str, list[str]] = {}
    if settings.mandate.max_participation is not None:
        needs.setdefault("average_daily_volume", []).append("mandate.max_participation")
    if settings.costs.impact > 0:
        needs.setdefault("average_daily_volume", []).append("costs.impact")
    for name, shock in settings.shocks.items():
        if shock.market is not None:
            needs.setdefault("beta", []).append(dotted("shocks", name, "market"))
    return needs


def _filled(settings: Settings, tables: Tables, column: str, reasons: list[str]) -> Iterator[Breach]:
    exposures, table = tables["exposures"], name_of(tables, "exposures")
    risk = settings.risk
    if column in ("beta", "idiosyncratic_volatility") and risk.source == "exposures":
        return  # said of the risk
    because = " and ".join(reasons) + (" needs it" if len(reasons) == 1 else " need it")
    if column not in exposures:
        if column in ("beta", "idiosyncratic_volatility") and risk.source == "prices" and risk.late_listings == "beta":
            return  # said of the risk
        yield Breach(table, None, column, None, because, "add the column, or remove what needs it")
        return
    risky = exposures.loc[exposures["bucket"] != "cash"]
    for row, name, value in zip(risky.index, risky["instrument"], risky[column], strict=True):
        place = (table, int(row), column)
        if pd.isna(value):
            yield Breach(*place, "", "must not be blank", f"{because} for {name}")
        elif column == "average_daily_volume" and value == 0 and "costs.impact" in reasons:
            cure = f"costs.impact divides by it for {name}: write the units traded on an average day"
            yield Breach(*place, "0", "must be above 0", cure)


def _said(column: str, value: str | None, rule: str, cure: str) -> Breach:
    return Breach("book.toml", None, column, value, rule, cure)
