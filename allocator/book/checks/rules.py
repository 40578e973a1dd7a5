"""Whether the mandate's rules have something to stand on: every name in them is known, and something counts towards it.

Then what they are measured by: columns that are there, of numbers, without a blank.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

import pandas as pd

from allocator.errors import Breach, closest_name, did_you_mean
from allocator.settings.mandate import ALWAYS_HARD, NO_RULES, MandateSection, stated_rules
from allocator.settings.reading import dotted_key
from allocator.settings.settings import Settings
from allocator.tables import contract_text, read_contract

# The columns and tables that rules, shocks and costs are measured by: there, of numbers, and without a blank.
#
Tables = Mapping[str, pd.DataFrame]


def file_name(tables: Tables, table: str) -> str:
    """What errors call a table, such as holdings.csv."""
    return str(tables[table].attrs.get("name", table))


def check_rule_columns(settings: Settings, tables: Tables, given: Collection[str]) -> Iterator[Breach]:
    """What is wanted of exposures.csv and factors.csv by `[mandate]`, `[shocks]` and `[costs]`."""
    needs = _needs(settings)
    kinds = column_types() if settings.mandate.exposures else {}
    known = [name for name, kind in kinds.items() if kind == "float64" and name in tables["exposures"]]
    known += factor_names(tables)
    for column in settings.mandate.exposures:
        key = dotted_key("mandate", "exposures", column)
        if column in kinds and kinds[column] != "float64":
            kind = "dates" if kinds[column].startswith("datetime") else "text"
            yield _column_breach(key, column, f"is a column of {kind}, not of numbers", did_you_mean(column, known))
        elif column in kinds:
            needs.setdefault(column, []).append(key)
        elif column not in known and ("factors" in tables or "factors" not in given):
            rule = "no such column in exposures.csv or factors.csv"
            yield _column_breach(key, column, rule, did_you_mean(column, known))
    for column, reasons in needs.items():
        yield from _filled(settings, tables, column, reasons)


def check_factor_names(tables: Tables) -> Iterator[Breach]:
    """A factor that an exposure is called like would leave open which of the two is meant; cash has no factor."""
    columns = {name.casefold(): name for name in column_types()}
    factors, table = tables["factors"], file_name(tables, "factors")
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


def check_benchmark_rules(settings: Settings, given: Collection[str]) -> Iterator[Breach]:
    """Rules against the benchmark want one."""
    for key in ("max_tracking_error", "min_worst_case_active_return"):
        value = getattr(settings.mandate, key)
        if value is not None and "benchmark" not in given:
            cure = "add benchmark.csv, or remove the rule"
            yield _column_breach(dotted_key("mandate", key), f"{value:g}", "needs benchmark.csv", cure)


def factor_names(tables: Tables) -> list[str]:
    """The factors of factors.csv; none where it is not there."""
    columns = map(str, tables["factors"]) if "factors" in tables else ()
    return [name for name in columns if name not in ("instrument", "source")]


def column_types() -> dict[str, str]:
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
            needs.setdefault("beta", []).append(dotted_key("shocks", name, "market"))
    return needs


def _filled(settings: Settings, tables: Tables, column: str, reasons: list[str]) -> Iterator[Breach]:
    exposures, table = tables["exposures"], file_name(tables, "exposures")
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


def _column_breach(column: str, value: str | None, rule: str, cure: str) -> Breach:
    return Breach("book.toml", None, column, value, rule, cure)


BUCKETS = ("efficiency", "capital_intensity", "adopter", "neutral", "cash")
_CASH_RULES = ("cash has rules of its own", "use mandate.min_cash and mandate.max_cash")


def check_rules_without_tables(settings: Settings) -> Iterator[Breach]:
    """What `book.toml` says of itself: no table is needed."""
    yield from _buckets_and_groups(settings)
    yield from _ratios(settings)
    yield from _tiers(settings)
    yield from _lists(settings)
    mandate = settings.mandate
    if mandate.min_cash > mandate.max_cash:
        yield _rule_breach(
            "mandate.min_cash",
            f"{mandate.min_cash:g}",
            f"must not be above max_cash = {mandate.max_cash:g}",
            "lower min_cash or raise max_cash",
        )
    floors = (mandate.min_worst_case_return, mandate.min_worst_case_active_return)
    if mandate.objective == "minimum_variance" and settings.robust.guards and floors == (None, None):
        yield _rule_breach(
            "robust.set",
            settings.robust.set,
            "has no meaning with objective = 'minimum_variance', which looks at no return",
            'set robust.set = "none" or objective = "return_minus_risk"',
        )


def check_rule_names(settings: Settings, tables: Tables) -> Iterator[Breach]:
    """What `book.toml` names must be in exposures.csv."""
    yield from _names(settings, tables)
    yield from _members(settings, tables)
    yield from _counted(settings, tables)


def _rule_breach(column: str, value: str | None, rule: str, cure: str) -> Breach:
    return Breach("book.toml", None, column, value, rule, cure)


def _buckets_and_groups(settings: Settings) -> Iterator[Breach]:
    mandate = settings.mandate
    for kind, known in (("buckets", BUCKETS), ("groups", tuple(settings.groups))):
        for name in getattr(mandate, kind):
            if name not in known:
                cure = did_you_mean(name, known) if known else "add it to [groups] with its instruments"
                yield _rule_breach(dotted_key("mandate", kind, name), name, f"no such {kind[:-1]}", cure)
    if "cash" in mandate.buckets:
        yield _rule_breach("mandate.buckets.cash", None, *_CASH_RULES)


def _ratios(settings: Settings) -> Iterator[Breach]:
    known = [*BUCKETS[:-1], *settings.groups]
    for ratio, section in settings.mandate.ratios.items():
        for key in ("group", "to"):
            name, place = getattr(section, key), dotted_key("mandate", "ratios", ratio, key)
            if name in BUCKETS and name in settings.groups:
                yield _rule_breach(place, name, "is a bucket and a group of [groups]", "give the group another name")
            elif name == "cash":
                yield _rule_breach(place, name, *_CASH_RULES)
            elif name not in known:
                yield _rule_breach(place, name, "no such bucket or group", did_you_mean(name, known))


def _tiers(settings: Settings) -> Iterator[Breach]:
    """Only a stated rule can be relaxed, and some rules never are."""
    stated = stated_rules(settings.mandate)
    kinds = [key for key in MandateSection.model_fields if key not in (*NO_RULES, *ALWAYS_HARD)]
    for name in settings.mandate.tiers:
        place, kind = dotted_key("mandate", "tiers", name), name.partition(".")[0]
        if kind in ALWAYS_HARD:
            yield _rule_breach(place, name, "is always hard: it cannot be relaxed", "remove its priority")
        elif name not in stated:
            if name in kinds:  # max_cash is not min_cash, but weights may be weights.NVDA
                near = next((rule for rule in stated if rule.startswith(f"{name}.")), None)
            else:
                near = closest_name(name, stated) or (None if kind in kinds else closest_name(name, kinds))
            cure = f"did you mean {near!r}?" if near else "state it under [mandate], or remove its priority"
            yield _rule_breach(place, name, "the mandate states no such rule", cure)


def _lists(settings: Settings) -> Iterator[Breach]:
    mandate = settings.mandate
    for key in ("locked", "forbidden"):
        names = getattr(mandate, key)
        for name in sorted({name for name in names if names.count(name) > 1}):
            yield _rule_breach(dotted_key("mandate", key), name, "is named twice", "name it once")
    for name in sorted(set(mandate.locked) & set(mandate.forbidden)):
        cure = "remove it from locked or from forbidden"
        yield _rule_breach("mandate.forbidden", name, "is locked too: it can neither be traded nor stay", cure)


def _risky(tables: Tables) -> pd.DataFrame:
    exposures = tables["exposures"]
    return exposures.loc[exposures["bucket"] != "cash"]


def _names(settings: Settings, tables: Tables) -> Iterator[Breach]:
    mandate, risky, exposures = settings.mandate, _risky(tables), tables["exposures"]
    instruments, issuers = list(risky["instrument"]), set(risky["issuer"])
    cash = set(exposures["instrument"]) - set(instruments)
    unknown = "no such instrument in exposures.csv"
    for name in mandate.weights:
        if name not in instruments:
            yield _rule_breach(dotted_key("mandate", "weights", name), name, unknown, did_you_mean(name, instruments))
    for name in mandate.issuers:
        if name not in issuers:
            cure = did_you_mean(name, issuers)
            yield _rule_breach(dotted_key("mandate", "issuers", name), name, "no such issuer in exposures.csv", cure)
    for key in ("locked", "forbidden"):
        for name in dict.fromkeys(getattr(mandate, key)):
            if name in cash:
                yield _rule_breach(dotted_key("mandate", key), name, *_CASH_RULES)
            elif name not in instruments:
                yield _rule_breach(dotted_key("mandate", key), name, unknown, did_you_mean(name, instruments))


def _members(settings: Settings, tables: Tables) -> Iterator[Breach]:
    instruments = list(_risky(tables)["instrument"])
    for group, members in settings.groups.items():
        if not members:
            yield _rule_breach(dotted_key("groups", group), None, "is empty", "name its instruments or remove it")
        for name in members:
            if name not in instruments:
                place = dotted_key("groups", group) if isinstance(members, list) else dotted_key("groups", group, name)
                yield _rule_breach(place, name, "no such instrument in exposures.csv", did_you_mean(name, instruments))
        if isinstance(members, list):
            for name in sorted({name for name in members if members.count(name) > 1}):
                yield _rule_breach(dotted_key("groups", group), name, "is named twice", "name it once")


def _counted(settings: Settings, tables: Tables) -> Iterator[Breach]:
    """Rules of something that nothing in this book counts towards."""
    risky, mandate = _risky(tables), settings.mandate
    if not len(risky):
        return  # said elsewhere
    for kind in ("buckets", "groups"):
        for name in getattr(mandate, kind):
            if cure := _uncounted(settings, risky, name, kind):
                rule = "nothing in this book counts towards it: a cap always holds, a floor never can"
                yield _rule_breach(dotted_key("mandate", kind, name), None, rule, cure)
    for ratio, section in mandate.ratios.items():
        for key in ("group", "to"):
            name = getattr(section, key)
            if cure := _uncounted(settings, risky, name, "groups" if name in settings.groups else "buckets"):
                yield _rule_breach(
                    dotted_key("mandate", "ratios", ratio, key), name, "nothing in this book counts towards it", cure
                )


def _uncounted(settings: Settings, risky: pd.DataFrame, name: str, kind: str) -> str | None:
    """The cure where nothing counts towards a known bucket or group."""
    if kind == "groups":
        members = settings.groups.get(name)
        none = isinstance(members, dict) and bool(members) and not any(members.values())
        return "give a member a share above 0, or remove the rule" if none else None
    if name not in BUCKETS[:-1]:
        return None
    label = (risky["bucket"] == name).astype(float)
    column = f"{name}_share"
    shares = risky[column].fillna(label) if column in risky else label
    return None if (shares > 0).any() else "correct the labels and shares of exposures.csv, or remove the rule"
