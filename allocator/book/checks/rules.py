"""Whether the mandate's rules have something to stand on: every name in them is known, and something counts towards it.

Then what they are measured by: columns that are there, of numbers, without a blank.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import pandas as pd

from allocator.book.checks.draft import Draft, repeated_names, unknown_names
from allocator.book.defaults import archetypes
from allocator.errors import Breach, closest_name, did_you_mean, setting_breach
from allocator.settings.mandate import ALWAYS_HARD, NO_RULES, MandateSection, stated_rules
from allocator.settings.reading import dotted_key
from allocator.settings.settings import EARLIER_SHARES, Settings, share_columns
from allocator.settings.stress import joined_shocks
from allocator.tables import read_contract
from allocator.tables.schema import UNCLASSIFIED
from allocator.types import Vector

_CASH_RULES = ("cash has rules of its own", "use mandate.min_cash and mandate.max_cash")
_UNKNOWN = "instrument in exposures.csv"
_LISTS = ("locked", "forbidden", "eligible")


def check_bucket_names(draft: Draft) -> Iterator[Breach]:
    """That a bucket of `[buckets]` is no name of anything else, and that two of them are the headline."""
    if "buckets" not in draft.settings.model_fields_set:
        return
    buckets, place = draft.settings.buckets, dotted_key("buckets", "names")
    instruments = draft.instruments if "exposures" in draft.tables else ()
    others = (("a group of [groups]", draft.settings.groups), ("an instrument of exposures.csv", instruments))
    yield from repeated_names(place, buckets.names)
    for name in dict.fromkeys(buckets.names):
        if name.casefold() == "cash":
            yield setting_breach(place, name, "is the label of cash in every book", "leave it out")
        if name == UNCLASSIFIED:
            yield setting_breach(place, name, "is the label of names that nobody has classified", "leave it out")
        for what, known in others:
            if name in known:
                yield setting_breach(place, name, f"is the name of {what} too", "give one of the two another name")
    if (headline := buckets.headline) is not None:
        place = dotted_key("buckets", "headline")
        yield from unknown_names((), dict.fromkeys(headline), buckets.names, "bucket in buckets.names", at=place)
        yield from repeated_names(place, headline)
        if len(headline) != 2:
            cure = "name the two that screens show, or remove it"
            yield setting_breach(place, len(headline), "must be two buckets", cure)


def check_archetypes(draft: Draft) -> Iterator[Breach]:
    """That archetypes are known, and say the bucket where the row does not."""
    known, buckets = archetypes() if _names_archetypes(draft) else None, draft.settings.buckets.names
    if known is None:
        return
    for bucket, name in draft.settings.buckets.archetypes.items():
        place = dotted_key("buckets", "archetypes", bucket)
        yield from unknown_names(("buckets", "archetypes"), [bucket], buckets, "bucket in buckets.names")
        if name not in known.index:
            yield setting_breach(place, name, "no such archetype", archetype_cure(name))
    everyone = draft.tables["exposures"]
    for row in draft.rows("exposures", everyone["archetype"].notna()) if "archetype" in everyone else ():
        name = row["archetype"]
        if row["bucket"] == "cash":
            yield row.breach("archetype", "cash has no archetype", "leave it blank")
        elif name not in known.index:
            yield row.breach("archetype", "no such archetype", archetype_cure(name), named=True)
        elif row["bucket"] == UNCLASSIFIED != name:
            rule = f"is counted as {known['bucket'][name]}, which is no bucket of this book"
            yield row.breach("archetype", rule, f"state its bucket: {', '.join(buckets)}", named=True)


def _names_archetypes(draft: Draft) -> bool:
    return "archetype" in draft.tables["exposures"] or bool(draft.settings.buckets.archetypes)


def archetype_cure(name: str = "") -> str:
    """The archetypes that there are, the nearest first."""
    known = [str(one) for one in archetypes().index if one != UNCLASSIFIED]
    near = closest_name(name, known) if name else None
    return (f"did you mean {near!r}? " if near else "") + f"there are {', '.join(known)}"


def bucket_column_breaches(settings: Settings, table: str, columns: Sequence[str]) -> Iterator[Breach]:
    """Columns of exposures.csv with the shares of no bucket of the book, or of one that has two."""
    names, earlier = settings.buckets.names, {column: name for name, column in EARLIER_SHARES.items()}
    for column in columns:
        bucket = earlier.get(column, column.removeprefix("share_"))
        own, *_ = both = share_columns(bucket)
        if column not in both:
            continue
        if bucket == "cash":
            yield Breach.of(table, "cash is no bucket: it counts as cash in full", "remove the column", column=column)
        elif bucket not in names:
            near = closest_name(bucket, names)
            cure = f"did you mean 'share_{near}'?" if near else f"name {bucket!r} in [buckets], or remove the column"
            yield Breach.of(table, "holds the shares of no bucket of this book", cure, column=column)
        elif column != own and own in columns:
            yield Breach.of(table, f"says what {own} says", "keep one of the two columns", column=column)


def bucket_counts(exposures: pd.DataFrame, *buckets: str) -> list[Vector]:
    """How much of each row counts towards buckets: its share where that is given, else all or nothing by the label."""
    labels, found = exposures["bucket"].to_numpy(dtype=object), list[Vector]()
    for bucket in buckets:
        counts = (labels == bucket).astype(np.float64)
        column = next((column for column in share_columns(bucket) if column in exposures), None)
        if column is not None:
            shares = exposures[column].to_numpy(dtype=np.float64)
            counts = np.where(np.isnan(shares), counts, shares)
        found.append(counts)
    return found


def check_cash_shares(draft: Draft) -> Iterator[Breach]:
    """Cash counts towards no bucket."""
    everyone = draft.tables["exposures"]
    for column in (column for name in draft.settings.buckets.names for column in share_columns(name)):
        for row in draft.rows("exposures", everyone["instrument"].isin(draft.cash)) if column in everyone else ():
            if row[column] > 0:
                yield row.breach(column, "cash counts towards no bucket", "write 0, or leave it blank")


def check_buckets_and_groups(draft: Draft) -> Iterator[Breach]:
    """That rules name buckets, and groups that `[groups]` has."""
    mandate, groups = draft.settings.mandate, draft.settings.groups
    stated = [name for name in mandate.buckets if name != "cash"]
    yield from unknown_names(("mandate", "buckets"), stated, draft.settings.buckets.names, "bucket")
    if groups:
        yield from unknown_names(("mandate", "groups"), mandate.groups, groups, "group")
    for name in mandate.groups if not groups else ():
        cure = "add it to [groups] with its instruments"
        yield setting_breach(dotted_key("mandate", "groups", name), name, "no such group", cure)
    if "cash" in mandate.buckets:
        yield setting_breach("mandate.buckets.cash", None, *_CASH_RULES)


def check_bands(draft: Draft) -> Iterator[Breach]:
    """That a band is of something that is known by one name, and that nothing shuts its target out."""
    mandate, instruments = draft.settings.mandate, list(draft.risky["instrument"])
    buckets, groups = draft.settings.buckets.names, draft.settings.groups
    for name, band in mandate.bands.items():
        place, kinds = dotted_key("mandate", "bands", name), [name in instruments, name in buckets, name in groups]
        if name in (*draft.cash, "cash"):
            yield setting_breach(place, name, *_CASH_RULES)
        elif not any(kinds):
            known = [*instruments, *buckets, *groups]
            yield from unknown_names((), [name], known, "instrument, bucket or group", at=place)
        elif sum(kinds) > 1:
            yield setting_breach(place, name, "is the name of several things", "give the group another name")
        elif name in mandate.forbidden:
            yield setting_breach(place, name, "is forbidden: nothing of it may be left", _NO_BAND)
        else:
            own = (mandate.weights, mandate.buckets, mandate.groups)[kinds.index(True)].get(name)
            floor, cap = (None, None) if own is None else (own.min, own.max)
            cap = mandate.max_weight if cap is None and kinds[0] else cap
            if kinds[0]:  # all that it may weigh beside others of its issuer
                issuer = str(draft.risky["issuer"].iloc[instruments.index(name)])
                together = mandate.issuers.get(issuer)
                of_issuer = mandate.max_issuer_weight if together is None or together.max is None else together.max
                cap = min((limit for limit in (cap, of_issuer) if limit is not None), default=None)
            for limit, beyond, words, cure in (
                (cap, 1, "above what it may", "lower the target, or raise the cap"),
                (floor, -1, "below what it must", "raise the target, or lower the floor"),
            ):
                if limit is not None and (band.target - limit) * beyond > 0:
                    yield setting_breach(f"{place}.target", f"{band.target:g}", f"is {words} weigh, {limit:g}", cure)
    total = sum(band.target for name, band in mandate.bands.items() if name in instruments)
    if total > 1 + 1e-9:
        rule = f"have targets that add up to {total:.10g} of instruments, more than there is"
        yield setting_breach("mandate.bands", None, rule, "lower them")


_NO_BAND = "take it out of mandate.forbidden, or remove the band"


def check_ratios(draft: Draft) -> Iterator[Breach]:
    """That a ratio compares two buckets or groups, neither of them cash."""
    buckets, groups = draft.settings.buckets.names, draft.settings.groups
    for place, name in _compared(draft.settings):
        if name in (*buckets, "cash") and name in groups:
            yield setting_breach(place, name, "is a bucket and a group of [groups]", "give the group another name")
        elif name == "cash":
            yield setting_breach(place, name, *_CASH_RULES)
        else:
            yield from unknown_names((), [name], [*buckets, *groups], "bucket or group", at=place)


def _compared(settings: Settings) -> Iterator[tuple[str, str]]:
    for ratio, section in settings.mandate.ratios.items():
        yield dotted_key("mandate", "ratios", ratio, "group"), section.group
        yield dotted_key("mandate", "ratios", ratio, "to"), section.to


def check_tiers(draft: Draft) -> Iterator[Breach]:
    """Only a stated rule can be relaxed, and some rules never are."""
    stated = stated_rules(draft.settings.mandate)
    kinds = [key for key in MandateSection.model_fields if key not in (*NO_RULES, *ALWAYS_HARD)]
    for name in draft.settings.mandate.tiers:
        place, kind = dotted_key("mandate", "tiers", name), name.partition(".")[0]
        if kind in ALWAYS_HARD:
            yield setting_breach(place, name, "is always hard: it cannot be relaxed", "remove its priority")
        elif name not in stated:
            if name in kinds:  # max_cash is not min_cash, but weights may be weights.NVDA
                near = next((rule for rule in stated if rule.startswith(f"{name}.")), None)
            else:
                near = closest_name(name, stated) or (None if kind in kinds else closest_name(name, kinds))
            cure = f"did you mean {near!r}?" if near else "state it under [mandate], or remove its priority"
            yield setting_breach(place, name, "the mandate states no such rule", cure)


def check_lists(draft: Draft) -> Iterator[Breach]:
    """That names are locked, forbidden or eligible, once."""
    mandate = draft.settings.mandate
    for key in _LISTS:
        yield from repeated_names(dotted_key("mandate", key), getattr(mandate, key) or [])
    if mandate.eligible == []:
        cure = "name those that may be bought, or write no_purchases = true instead"
        yield setting_breach("mandate.eligible", None, "names nobody", cure)
    for name in sorted({*mandate.locked} & {*mandate.forbidden}):
        cure = "remove it from locked or from forbidden"
        yield setting_breach("mandate.forbidden", name, "is locked too: it can neither be traded nor stay", cure)


def check_limits(draft: Draft) -> Iterator[Breach]:
    """That the limits of cash are in order, and what is guarded against has a meaning to the objective."""
    mandate, robust = draft.settings.mandate, draft.settings.robust
    if mandate.min_cash > mandate.max_cash:
        rule = f"must not be above max_cash = {mandate.max_cash:g}"
        yield setting_breach("mandate.min_cash", f"{mandate.min_cash:g}", rule, "lower min_cash or raise max_cash")
    floors = (mandate.min_worst_case_return, mandate.min_worst_case_active_return)
    if not mandate.traits.uses_returns and robust.guards and floors == (None, None):
        rule = f"has no meaning with objective = '{mandate.objective}', which looks at no return"
        for key, reach in {"robust": robust, **{f"robust.{name}": axis for name, axis in robust.axes.items()}}.items():
            if reach.set != "none" or reach.makes_its_set:
                idle = f'set {key}.set = "none"' if reach.set != "none" else f"remove [{key}]"
                cure = f'{idle} or objective = "return_minus_risk"'
                yield setting_breach(f"{key}.set", reach.set, rule, cure)


def check_few_names(draft: Draft) -> Iterator[Breach]:
    """That a few names are chosen for one decision, and that a name can be held with the least that is wanted of it."""
    mandate = draft.settings.mandate
    few = {"max_names": mandate.max_names, "min_position": mandate.min_position or None}
    stated = {f"mandate.{key}": value for key, value in few.items() if value is not None}
    for key, value in stated.items():
        if draft.settings.horizon.reviews:
            rule = "is of one decision, and horizon.reviews re-optimise at later ones"
            yield setting_breach(key, value, rule, "remove the reviews, or the rule")
        elif not mandate.traits.few_names:
            rule = f"is not known with objective = '{mandate.objective}', where hindsight would choose names too"
            yield setting_breach(key, value, rule, "use 'return_minus_risk', or remove the rule")
    least, caps = mandate.min_position or 0.0, {"max_weight": mandate.max_weight}
    caps |= {f"weights.{name}": limits.max for name, limits in mandate.weights.items()}
    for rule, cap in caps.items():
        if cap is not None and 0 < cap < least and rule not in mandate.tiers:
            of = f"mandate.{rule}{'' if rule == 'max_weight' else '.max'} = {cap:g}"
            cure = f"lower it to {cap:g}, or raise {of.partition(' = ')[0]}"
            cure += "" if rule == "max_weight" else f"; 0 forbids {rule.removeprefix('weights.')}"
            yield setting_breach("mandate.min_position", f"{least:g}", f"must not be above {of}", cure)


def check_rule_names(draft: Draft) -> Iterator[Breach]:
    """That what rules name is in exposures.csv."""
    mandate, issuers = draft.settings.mandate, {*draft.risky["issuer"]}
    of_cash = {*draft.tables["exposures"]["issuer"]} - issuers
    yield from _no_instruments(draft, ("mandate", "weights"), mandate.weights)
    for name in mandate.issuers:
        if name in of_cash:
            yield setting_breach(dotted_key("mandate", "issuers", name), name, *_CASH_RULES)
        else:
            yield from unknown_names(("mandate", "issuers"), [name], issuers, "issuer in exposures.csv")
    for key in _LISTS:
        names = dict.fromkeys(getattr(mandate, key) or ())
        yield from _no_instruments(draft, (), names, at=dotted_key("mandate", key))


def _no_instruments(
    draft: Draft, place: tuple[str, ...], names: Iterable[str], *, at: str | None = None
) -> Iterator[Breach]:
    """Names that are no instrument, and cash, which is one and yet counts in no rule but its own."""
    known = {*draft.risky_names}
    for name in names:
        if name in draft.cash:
            yield setting_breach(at or dotted_key(*place, name), name, *_CASH_RULES)
        elif name not in known:
            yield from unknown_names(place, [name], draft.risky_names, _UNKNOWN, at=at)


def check_members(draft: Draft) -> Iterator[Breach]:
    """That groups have members, which are in exposures.csv."""
    for group, members in draft.settings.groups.items():
        place = dotted_key("groups", group)
        if not members:
            yield setting_breach(place, None, "is empty", "name its instruments or remove it")
        if isinstance(members, list):
            yield from _no_instruments(draft, (), members, at=place)
            yield from repeated_names(place, members)
        else:
            yield from _no_instruments(draft, ("groups", group), members)


def check_counted(draft: Draft) -> Iterator[Breach]:
    """Rules of something that nothing in this book counts towards."""
    settings, mandate = draft.settings, draft.settings.mandate
    if not len(draft.risky):
        return  # said elsewhere
    nothing = "nothing in this book counts towards it"
    for kind in ("buckets", "groups"):
        for name in getattr(mandate, kind):
            if cure := _uncounted(draft, name, kind):
                rule = f"{nothing}: a cap always holds, a floor never can"
                yield setting_breach(dotted_key("mandate", kind, name), None, rule, cure)
    bands = ((dotted_key("mandate", "bands", name), name) for name in mandate.bands)
    for place, name in (*_compared(settings), *bands):
        if cure := _uncounted(draft, name, "groups" if name in settings.groups else "buckets"):
            yield setting_breach(place, name, nothing, cure)


def _uncounted(draft: Draft, name: str, kind: str) -> str | None:
    """The cure where nothing counts towards a known bucket or group."""
    if kind == "groups":
        members = draft.settings.groups.get(name)
        none = isinstance(members, dict) and bool(members) and not any(members.values())
        return "give a member a share above 0, or remove the rule" if none else None
    if name not in draft.settings.buckets.names or (bucket_counts(draft.risky, name)[0] > 0).any():
        return None
    return "correct the labels and shares of exposures.csv, or remove the rule"


# The columns and tables that rules, shocks and costs are measured by: there, of numbers, and without a blank.
#


def check_benchmark_rules(draft: Draft) -> Iterator[Breach]:
    """Rules against the benchmark want one."""
    for key in ("max_tracking_error", "min_worst_case_active_return"):
        value = getattr(draft.settings.mandate, key)
        if value is not None and "benchmark" not in draft.given:
            cure = "add benchmark.csv, or remove the rule"
            yield setting_breach(dotted_key("mandate", key), f"{value:g}", "needs benchmark.csv", cure)


def check_rule_columns(draft: Draft) -> Iterator[Breach]:
    """What is wanted of exposures.csv and factors.csv by `[mandate]`, `[shocks]` and `[costs]`."""
    needs = _needs(draft.settings)
    kinds = column_types(draft.settings) if draft.settings.mandate.exposures else {}
    known = [name for name, kind in kinds.items() if kind == "float64" and name in draft.tables["exposures"]]
    known += draft.factors
    for column in draft.settings.mandate.exposures:
        key = dotted_key("mandate", "exposures", column)
        if column in kinds and kinds[column] != "float64":
            kind = "dates" if kinds[column].startswith("datetime") else "text"
            rule = f"is a column of {kind}, not of numbers"
            yield setting_breach(key, column, rule, did_you_mean(column, known))
        elif column in kinds:
            needs.setdefault(column, []).append(key)
        elif "factors" in draft.tables or "factors" not in draft.given:
            yield from unknown_names((), [column], known, "column in exposures.csv or factors.csv", at=key)
    for column, reasons in needs.items():
        yield from _filled(draft, column, reasons)


def column_types(settings: Settings) -> dict[str, str]:
    """What each column that exposures.csv may have holds: float64, datetime64[ns], or a kind of text."""
    kinds = {str(name): str(column.dtype) for name, column in read_contract("exposures").columns.items()}
    return kinds | {share_columns(name)[0]: "float64" for name in settings.buckets.names}


def _needs(settings: Settings) -> dict[str, list[str]]:
    """The columns of exposures.csv that must be filled for every name but cash, and the keys that want them."""
    wanted = [
        ("average_daily_volume", "mandate.max_participation", settings.mandate.max_participation is not None),
        ("average_daily_volume", "costs.impact", settings.costs.impact > 0),
    ]
    for name, shock in joined_shocks(settings.shocks).items():
        wanted.append(("beta", dotted_key("shocks", name, "market"), shock.market is not None))
        wanted.append(("multiple_loading", dotted_key("shocks", name, "multiples"), shock.multiples is not None))
    needs: dict[str, list[str]] = {}
    for column, key, really in wanted:
        if really:
            needs.setdefault(column, []).append(key)
    return needs


def _filled(draft: Draft, column: str, reasons: list[str]) -> Iterator[Breach]:
    everyone, risk = draft.tables["exposures"], draft.settings.risk
    by_beta = risk.source == "prices" and risk.late_listings == "beta" and column not in everyone
    if column in ("beta", "idiosyncratic_volatility") and (risk.source == "exposures" or by_beta):
        return  # said of the risk
    because = " and ".join(reasons) + (" needs it" if len(reasons) == 1 else " need it")
    if column not in everyone:
        cure = "add the column, or remove what needs it"
        yield draft.column_breach("exposures", column, because, cure)
        return
    for row in draft.rows("exposures", everyone["bucket"] != "cash"):
        if pd.isna(row[column]):
            yield row.breach(column, "must not be blank", because, named=True)
        elif column == "average_daily_volume" and row[column] == 0 and "costs.impact" in reasons:
            cure = "costs.impact divides by it: write the units traded on an average day"
            yield row.breach(column, "must be above 0", cure, named=True)


def check_factor_names(draft: Draft) -> Iterator[Breach]:
    """A factor that an exposure is called like would leave open which of the two is meant; cash has no factor."""
    columns = {name.casefold(): name for name in column_types(draft.settings)}
    for name in draft.factors:
        if known := columns.get(name.casefold()):
            rule = f"is the name of a column of exposures.csv, '{known}'"
            yield draft.column_breach("factors", name, rule, "give the factor another name")
    for row in draft.rows("factors", draft.tables["factors"]["instrument"].isin(draft.cash)):
        for name in draft.factors:
            if row[name] != 0:
                yield row.breach(name, "cash counts 0 in every factor", "write 0, or remove the row of cash")
