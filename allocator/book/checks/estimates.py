"""What the tables of estimates must agree on with the exposures: returns, risk, benchmark, one row a name."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import numpy as np

from allocator.book.checks.rules import Tables, file_name
from allocator.errors import Breach, did_you_mean
from allocator.settings.settings import Settings
from allocator.types import Matrix

NOT_SCENARIOS = ("instrument", "source")
"""Columns of scenario_returns.csv that are no scenarios."""


def check_estimates(settings: Settings, tables: Tables, given: Collection[str]) -> Iterator[Breach]:
    """Every disagreement of scenario_returns, prices, covariance and benchmark with exposures.csv and the settings."""
    yield from _risk_tables(settings, tables, given)
    if "exposures" in tables:
        yield from _risk_columns(settings, tables)
        yield from _same_instruments(tables)
    if "scenario_returns" in tables:
        yield from _scenarios(settings, tables)
        yield from _plausible_returns(settings, tables)
    if "benchmark" in tables:
        yield from _sums_to_one(tables)
    if "covariance" in tables:
        yield from _covariance(tables)


def _instruments(tables: Tables) -> list[str]:
    return list(tables["exposures"]["instrument"])


def _risk_columns(settings: Settings, tables: Tables) -> Iterator[Breach]:
    risk = settings.risk
    exposures = tables["exposures"]
    if risk.source == "exposures" or (risk.source == "prices" and risk.late_listings == "beta"):
        risky = exposures.loc[exposures["bucket"] != "cash"]
        for column in ("beta", "idiosyncratic_volatility"):
            if column not in exposures:
                yield Breach(
                    file_name(tables, "exposures"),
                    None,
                    column,
                    None,
                    f"risk.source = '{risk.source}' needs it",
                    "add the column, or give prices.csv or covariance.csv and say so in risk.source",
                )
                continue
            for row in risky.index[risky[column].isna()] if risk.source == "exposures" else ():
                yield Breach(
                    file_name(tables, "exposures"),
                    int(row),
                    column,
                    "",
                    "must not be blank",
                    f"risk.source = 'exposures' needs it for {risky.loc[row, 'instrument']}",
                )


def _risk_tables(settings: Settings, tables: Tables, given: Collection[str]) -> Iterator[Breach]:
    """The table that risk comes from is there; a table that it could come from is not left aside in silence."""
    risk = settings.risk
    for table in ("prices", "covariance"):
        if risk.source == table and table not in given:
            yield Breach(
                "book.toml",
                None,
                "risk.source",
                table,
                f"needs {table}.csv",
                f'add {table}.csv, or set risk.source = "exposures"',
            )
        if risk.source != table and table in given and "source" not in risk.model_fields_set:
            named = file_name(tables, table) if table in tables else f"{table}.csv"
            yield Breach(
                "book.toml",
                None,
                "risk.source",
                None,
                f"must be stated, because {named} is there",
                f'write source = "{table}" to use it, or source = "exposures" to leave it aside',
            )


def _same_instruments(tables: Tables) -> Iterator[Breach]:
    instruments = _instruments(tables)
    cash = set(tables["exposures"].loc[tables["exposures"]["bucket"] == "cash", "instrument"])
    where = file_name(tables, "exposures")
    for table in ("holdings", "scenario_returns", "benchmark", "covariance", "factors"):
        if table not in tables:
            continue
        own = tables[table]["instrument"]
        for row, name in own[~own.isin(instruments)].items():
            yield Breach(
                file_name(tables, table),
                int(str(row)),
                "instrument",
                name,
                f"is not in {where}",
                did_you_mean(name, instruments),
            )
        cures = {
            "holdings": "add a row with today's price, quantity 0 if it is not held",
            "covariance": "add its row",
            "factors": "add its row",
        }
        wanted = set(instruments) - (set() if table == "holdings" else cash)
        for name in sorted(wanted - set(own)) if table in cures else ():
            yield Breach(file_name(tables, table), None, "instrument", name, "has no row here", cures[table])
    for table in ("prices", "covariance"):
        if table in tables:
            yield from _columns(tables, table, instruments, cash)


def _columns(tables: Tables, table: str, instruments: list[str], cash: set[str]) -> Iterator[Breach]:
    frame = tables[table]
    if table == "prices" and set(frame.columns) == {"date", "instrument", "price"}:
        own = set(frame["instrument"])
    else:
        own = set(frame.columns) - {"date", "instrument"}
    for name in sorted(own - set(instruments)):
        yield Breach(
            file_name(tables, table),
            None,
            name,
            None,
            f"is not in {file_name(tables, 'exposures')}",
            f"{did_you_mean(name, instruments)} Else remove the column",
        )
    for name in sorted(set(instruments) - cash - own):
        yield Breach(file_name(tables, table), None, name, None, "has no column here", "add it")


def _scenarios(settings: Settings, tables: Tables) -> Iterator[Breach]:
    columns = [column for column in tables["scenario_returns"].columns if column not in NOT_SCENARIOS]
    table = file_name(tables, "scenario_returns")
    missing = [name for name in settings.scenarios if name not in columns and name.casefold() not in NOT_SCENARIOS]
    unknown = [name for name in columns if name not in settings.scenarios]
    for name in missing:
        cure = did_you_mean(name, unknown) if unknown else "add it"
        yield Breach(table, None, name, None, "this scenario of book.toml has no column", cure)
    for name in unknown:
        cure = did_you_mean(name, missing) if missing else f"remove it, or add [scenarios.{name}] to book.toml"
        yield Breach(table, None, name, None, "this column is no scenario of book.toml", cure)


def _plausible_returns(settings: Settings, tables: Tables) -> Iterator[Breach]:
    returns, table = tables["scenario_returns"], file_name(tables, "scenario_returns")
    cash: set[str] = set()
    if "exposures" in tables:
        exposures = tables["exposures"]
        cash = set(exposures.loc[exposures["bucket"] == "cash", "instrument"])
    for name in settings.scenarios:
        if name not in returns or name in NOT_SCENARIOS:
            continue
        values = returns[name]
        big = int((values.abs() > 1).sum())
        if len(values) > 2 and big > len(values) / 2:
            yield Breach(
                table,
                None,
                name,
                None,
                f"{big} of {len(values)} returns are beyond 100 %",
                "prices or percent where returns belong? write +12 % as 0.12",
            )
        limit = 0.3 * max(1.0, settings.years)
        for row in values.index[returns["instrument"].isin(cash) & (values.abs() > limit)]:
            yield Breach(
                table,
                int(row),
                name,
                f"{values[row]:g}",
                f"cash does not return more than {limit:.0%}",
                "percent where a fraction belongs? write 4 % as 0.04",
            )


def _sums_to_one(tables: Tables) -> Iterator[Breach]:
    total = float(tables["benchmark"]["weight"].sum())
    if abs(total - 1) > 1e-6:
        yield Breach(
            file_name(tables, "benchmark"),
            None,
            "weight",
            f"{total:.8g}",
            "weights must sum to 1",
            f"the sum is {total:.8g}; cash is a row like any other",
        )


def _covariance(tables: Tables) -> Iterator[Breach]:
    frame, table = tables["covariance"], file_name(tables, "covariance")
    names = list(frame["instrument"])
    if set(frame.columns) - {"instrument"} != set(names):
        for name in sorted(set(names) ^ (set(frame.columns) - {"instrument"})):
            yield Breach(table, None, name, None, "has a row or a column, not both", "a covariance is square")
        return
    square = frame.set_index("instrument").loc[names, names].to_numpy(dtype=float)
    scale = float(np.abs(square).max())
    rows, columns = np.nonzero(np.triu(np.abs(square - square.T) > 1e-9 * scale))
    for first, second in zip(rows[:10], columns[:10], strict=True):
        yield Breach(
            table,
            int(frame.index[first]),
            names[second],
            f"{square[first, second]:g}",
            f"differs from its mirror image {square[second, first]:g}",
            "a covariance is symmetric",
        )
    if len(rows) == 0 and (least := float(np.linalg.eigvalsh(square)[0])) < -1e-8 * scale:
        rule = "has a negative eigenvalue: no portfolio has negative variance"
        yield Breach(table, None, None, f"{least:.3g}", rule, _indefinite_cure(square, least, 1e-8 * scale))


def _indefinite_cure(square: Matrix, least: float, allowed: float) -> str:
    """Whether rounding of the entries explains an eigenvalue (by Weyl at most n halves of the last digit each)."""
    digits = max(_decimals(value) for value in square.ravel())
    explained = len(square) * 0.5 * 10.0**-digits
    if digits > MOST_DECIMALS or -least > explained:
        return "estimate it from complete rows, or give prices.csv instead"
    wanted = int(np.ceil(-np.log10(allowed / (0.5 * len(square)))))
    told = f"its entries are rounded to {digits} decimals, which alone explains down to -{explained:.2g}"
    return f"{told}: write at least {wanted} decimals"


MOST_DECIMALS = 12
"""Entries with more are not rounded ones."""


def _decimals(value: float) -> int:
    """Digits behind the point that write a number exactly as it was read."""
    return next((digits for digits in range(MOST_DECIMALS + 1) if round(value, digits) == value), MOST_DECIMALS + 1)
