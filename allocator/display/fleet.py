"""`allocator fleet` on a terminal: how many accounts have orders, what these come to, and which failed, and why; and
`allocator household`: the orders of each account, and the rules of all together.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from allocator.display.console import add_cells, console, format_money, format_signed, heading, table
from allocator.presentation import plain_amount, plain_decimal

if TYPE_CHECKING:
    from allocator.fleets.fleet import FleetDocument
    from allocator.fleets.household import HouseholdDocument

_FAILED = 12
_ACCOUNTS, _ORDERS, _RULES, _DEAREST = 8, 11, 5, 3
_MONEY = ("value", "sells", "buys", "costs", "cash")


def show_fleet(found: FleetDocument, folder: str) -> None:
    """Print what became of a fleet."""
    out, failed = console(), found["failed"]
    out.print(f"{found['name']} · {found['accounts']:,} accounts · {found['as_of']}")
    verdicts = ", ".join(f"{name} {count:,}" for name, count in found["verdicts"].items())
    out.print(f"complete: {found['complete']:,}" + f" ({verdicts})" * bool(verdicts))
    money = {name: plain_amount(found[name], grouped=True) for name in ("value", "bought", "sold", "costs")}
    out.print(f"worth {money['value']} {found['currency']} before trading")
    out.print(f"{found['orders']:,} orders: sells {money['sold']}, buys {money['bought']}, costs {money['costs']}")
    if failed:
        kinds = ", ".join(f"{kind} {count:,}" for kind, count in Counter(one["error"] for one in failed).most_common())
        heading(out, f"Failed: {len(failed):,} ({kinds}); all others are complete")
        made = table("account", "error", "reason")
        for one in failed[:_FAILED]:
            add_cells(made, (one["account"], one["error"], one["message"]))
        out.print(made)
        if len(failed) > _FAILED:
            out.print(f"and {len(failed) - _FAILED:,} more in {folder}/fleet.json")
    if found["interrupted"]:
        out.print("interrupted: the same command goes on with the accounts that are missing")
    else:
        out.print(f"wrote {folder}/orders.csv, {folder}/fleet.json and {folder}/shards")


def show_household(found: HouseholdDocument, folder: str | None, *, full: bool = False) -> None:
    """Print what a household's accounts are to do, and why."""
    out, accounts = console(), found["accounts"]
    money = f"{plain_amount(found['value'], grouped=True)} {found['currency']}"
    count = f"{len(accounts)} accounts together" if len(accounts) > 1 else "1 account"
    out.print(f"{found['name']} · {count} · {found['as_of']} · {money}")
    gain = "" if found["gain_bps"] is None else f": the objective changes by {format_signed(found['gain_bps'])} bps"
    out.print(f"{found['verdict']}{gain}")
    made = table("account", *_MONEY, right=_MONEY)
    for one in accounts[: None if full else _ACCOUNTS]:
        figures = (one["value"], one["sold"], one["bought"], one["costs"], one["cash"])
        add_cells(made, (one["account"], *(format_money(figure) for figure in figures)))
    out.print(made)
    if len(accounts) > _ACCOUNTS and not full:
        out.print(f"and {len(accounts) - _ACCOUNTS} more: --full shows all")
    orders = [(one["account"], order) for one in accounts for order in one["orders"]]
    if orders:
        heading(out, "Orders")
        made = table("account", "side", "name", "quantity", "value", right=("quantity", "value"))
        largest = sorted(orders, key=lambda pair: -pair[1]["value"])[: len(orders) if full else _ORDERS]
        for account, order in [pair for pair in orders if pair in largest]:
            quantity, value = plain_decimal(order["quantity"], grouped=True), plain_amount(order["value"], grouped=True)
            add_cells(made, (account, order["side"], order["instrument"], quantity, value))
        out.print(made)
        if len(largest) < len(orders):
            out.print(f"and {len(orders) - len(largest)} smaller ones: --full shows all")
    names = {"expected_return": "expected return", "adverse_expected_return": "adverse expected return",
             "volatility": "volatility, a year"}  # fmt: skip
    told = (f"{label} {found['before'][name]:z.2%} to {found['after'][name]:z.2%}" for name, label in names.items())
    out.print("Of all together: " + "; ".join(told), markup=False)
    heading(out, "Limits nearest to being reached")
    made = table("limit", "measured", "use", right=("measured", "use"))
    used = sorted((rule for rule in found["rules"] if rule["use"]), key=lambda rule: -(rule["use"] or 0.0))
    for rule in used[: len(used) if full else _RULES]:
        measured = "" if rule["measured"] is None else f"{rule['measured']:z.6g}"
        add_cells(made, (rule["rule"], measured, f"{rule['use']:z.0%}"))
    out.print(made)
    dearest = list(found["binding"].items())[: None if full else _DEAREST]
    if dearest:
        prices = "; ".join(f"{name} {price:z.1f}" for name, price in dearest)
        out.print(f"Shadow prices, bps per point: {prices}", markup=False)
    gap = f"targets {found['gap_bps']:z.4f} bps from the proved bound, whole lots {found['lots_gap_bps']:z.2f} bps"
    out.print(f"proof: every rule kept; {gap}")
    if found["relaxed"]:
        out.print(f"relaxed: {'; '.join(found['relaxed'])}", markup=False)
    if folder is not None:
        out.print(f"wrote {folder}/orders.csv and {folder}/household.json")
