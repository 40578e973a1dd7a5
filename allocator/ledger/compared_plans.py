"""One of two plans that are compared: made now of a book, read from the `plan.json` of an earlier run, or recorded in a
ledger with all that it was made from.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from allocator.book.book import Book
from allocator.book.loading import load
from allocator.errors import BadInput, Breach
from allocator.ledger.causes import COMPARED, SolvedTargets
from allocator.ledger.record import recorded_files
from allocator.ledger.replay import is_made_alike, recorded_book
from allocator.mandate.builder import build_mandate
from allocator.mandate.mandate import no_trade
from allocator.outlook.outlook import build_outlook
from allocator.plan.document import RuleRow, figures_document, positions_document, rules_document
from allocator.plan.follow import input_fingerprints, read_plan
from allocator.plan.plan import Plan
from allocator.presentation import BookHeading, document_of
from allocator.rules import RuleMeasurement
from allocator.tables.files import is_plain_file

if TYPE_CHECKING:
    from allocator.ledger.ledger import Ledger


@dataclass(frozen=True, eq=False)
class ComparedPlan:
    """One of the two plans: what it is called, what `plan.json` says of it, and its book, where that is known.

    `weights` are before, target and after by name, cash last; `figures` after the orders.
    """

    label: str
    heading: BookHeading
    weights: Mapping[str, tuple[float, float, float]]
    orders: Mapping[str, tuple[str, float, float]]
    """Side, quantity and value."""
    figures: Mapping[str, float]
    rules: Sequence[tuple[object, RuleRow]]
    """Each measured, with what tells it from others whatever its limit is; that is its label where no book is known."""
    verdict: str
    fingerprints: Mapping[str, str]
    book: Book | None = None
    plan: Plan | None = None
    solved: SolvedTargets | None = None
    """Its targets, where solving its book here would give no others."""

    @staticmethod
    def of_plan(plan: Plan, label: str) -> ComparedPlan:
        """Of a plan that is there."""
        document = {
            "book": plan.book.heading(),
            "positions": positions_document(plan),
            "orders": list(map(document_of, plan.orders)),
            "figures": {"after": figures_document(plan.after)},
            "rules": rules_document(plan.measurements),
            "decision": {"verdict": plan.decision.verdict},
            "fingerprints": input_fingerprints(plan.book),
        }
        return ComparedPlan.of_document(document, label, plan.book, plan, SolvedTargets.of_plan(plan))

    @staticmethod
    def of_document(
        document: Mapping[str, Any],
        label: str,
        book: Book | None = None,
        plan: Plan | None = None,
        solved: SolvedTargets | None = None,
    ) -> ComparedPlan:
        """Of a `plan.json`.

        Raises:
            BadInput: it is not as it was written.
        """
        try:
            heading, figures, orders = document["book"], document["figures"], document["orders"]
            return ComparedPlan(
                label=label,
                heading={
                    "name": str(heading["name"]), "account": str(heading["account"]), "as_of": str(heading["as_of"]),
                    "currency": str(heading["currency"]), "value": float(heading["value"]),
                },
                weights={
                    str(row["instrument"]): (
                        float(row["weight_before"]), float(row["weight_target"]), float(row["weight_after"])
                    )
                    for row in document["positions"]
                },
                orders={
                    str(row["instrument"]): (str(row["side"]), float(row["quantity"]), float(row["value"]))
                    for row in orders
                },
                figures={one.name: float(figures["after"][one.name]) for one in COMPARED},
                rules=_identified(document["rules"], book, plan),
                verdict=str(document["decision"]["verdict"]),
                fingerprints=dict(document["fingerprints"]),
                book=book,
                plan=plan,
                solved=solved,
            )  # fmt: skip
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            found = f"it is without {error}" if isinstance(error, KeyError) else str(error)
            cure = "name the plan.json that `rebalance --out` wrote, as it wrote it"
            raise BadInput.of(label, f"is not as it was written: {found}", cure) from None


def _identified(rows: Sequence[RuleRow], book: Book | None, plan: Plan | None) -> list[tuple[object, RuleRow]]:
    """Measured rules by what they are; of those that say the same of two things, by which they are of them."""
    readings: Sequence[RuleMeasurement] = ()
    if plan is not None:
        readings = plan.measurements
    elif book is not None:
        outlook = build_outlook(book)
        readings = build_mandate(book, outlook).readings(no_trade(book), outlook)
    ids: dict[str, object] = {reading.label: reading.id for reading in readings}
    found, times = list[tuple[object, RuleRow]](), Counter[object]()
    for row in rows:
        known = ids.get(row["rule"], row["rule"])
        times[known] += 1
        measured = RuleRow(
            rule=row["rule"], measured=row["measured"], limit=row["limit"], kind=row["kind"], use=row["use"],
            state=row["state"],
        )  # fmt: skip
        found.append(((known, times[known]), measured))
    return found


# Where a plan is: the folder of a book, a plan.json or the folder that holds one, a run of a ledger.
#
_NAME_ONE = "name the folder of a book, a plan.json, or a run of a ledger"


@dataclass(frozen=True)
class PlanPlace:
    """What somebody names of a plan, and what is changed in it."""

    named: str
    account: str | None = None
    overrides: tuple[str, ...] = ()
    as_of: dt.date | None = None

    @property
    def label(self) -> str:
        """It in words, with what is changed."""
        day = () if self.as_of is None else (f"--as-of {self.as_of}",)
        return " ".join((self.named, *(f"--set {one}" for one in self.overrides), *day))

    def opened(self, ledger: Callable[[], Ledger]) -> Book | ComparedPlan:
        """The book to be planned, or the plan that is there.

        Raises:
            BadInput: there is none of this name, or it is not sound; all errors of a book at once.
        """
        place = Path(self.named)
        if is_plain_file(place / "book.toml"):
            return load(place, account=self.account, overrides=self.overrides, as_of=self.as_of)
        if file := next((path for path in (place, place / "plan.json") if is_plain_file(path)), None):
            return self._written(file)
        if os.path.lexists(place) or os.sep in self.named or place.suffix:
            rule = "has no book.toml and no plan.json" if os.path.lexists(place) else "is not there"
            raise BadInput.of(self.named, rule, _NAME_ONE)
        return self._recorded(ledger())

    def _written(self, file: Path) -> ComparedPlan:
        """The plan of a plan.json, which nothing can be changed in."""
        if self.overrides or self.as_of is not None:
            rule = "is a plan.json, which holds nothing that --set, --believe or --as-of could change"
            raise BadInput.of(self.named, rule, "name its book, or leave them out")
        return self._of_account(ComparedPlan.of_document(read_plan(file, self.named), self.label))

    def _recorded(self, ledger: Ledger) -> Book | ComparedPlan:
        """A run as it was recorded; with what-ifs its book, to be planned anew."""
        try:
            run = ledger.run(self.named)
        except BadInput as error:
            said = error.breaches[0]
            rule = f"is nothing here, and no run of {ledger.shown}: {said.rule}"
            raise BadInput.of(self.named, rule, f"{_NAME_ONE}; of a run: {said.cure}") from None
        with tempfile.TemporaryDirectory(prefix="allocator-") as temporary:
            book = recorded_book(ledger, run, Path(temporary), self.overrides, self.as_of)
        document = json.loads(recorded_files(ledger, run)["plan.json"])
        solved = SolvedTargets.of_document(document) if is_made_alike(run, book) else None
        plan = self._of_account(ComparedPlan.of_document(document, self.label, book, solved=solved))
        return book if self.overrides or self.as_of is not None else plan

    def _of_account(self, plan: ComparedPlan) -> ComparedPlan:
        own = plan.heading["account"]
        if self.account not in (None, own):
            raise BadInput.of("--account", f"{self.named} is of account {own}", "leave it out", value=self.account)
        return plan


def opened_plans(
    places: tuple[PlanPlace, PlanPlace], ledger: Callable[[], Ledger]
) -> tuple[Book | ComparedPlan, Book | ComparedPlan]:
    """Both of the two.

    Raises:
        BadInput: one of them is not there, or not sound; all errors of both at once.
    """
    found, breaches, two = list[Book | ComparedPlan](), list[Breach](), places[0].named != places[1].named
    for place in places:
        try:
            found.append(place.opened(ledger))
        except BadInput as error:
            of_book = two and is_plain_file(Path(place.named) / "book.toml")
            for breach in error.breaches:
                named = of_book and not breach.table.startswith("--")
                breaches.append(replace(breach, table=f"{place.named}/{breach.table}") if named else breach)
    if breaches:
        raise BadInput(dict.fromkeys(breaches))  # of one book with a change in it each is said once
    return found[0], found[1]
