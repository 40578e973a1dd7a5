"""`allocator fleet` on a terminal: how many accounts have orders, what these come to, and which failed, and why."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from allocator.display.console import add_cells, console, heading, table
from allocator.presentation import plain_amount

if TYPE_CHECKING:
    from allocator.fleets.fleet import FleetDocument

_FAILED = 12


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
