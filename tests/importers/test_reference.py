"""Exports that others published, beside the checkout: what they hold, to the cent; nothing of them is kept here."""

from __future__ import annotations

import datetime as dt
import re
from decimal import Decimal
from pathlib import Path

import pytest

from allocator.book.loading import load
from allocator.errors import BadInput
from allocator.importers.formats import Accept, import_positions
from allocator.importers.positions import Positions, book_files
from allocator.mandate.precheck import check


def accounted(found: Positions) -> bool:
    """Whether imported and not handled are the positions, and with the other lines all lines of the file."""
    lines = [row for one in found.holdings for row in one.rows] + [one.row for one in found.not_handled]
    assert len(lines) == len(set(lines)) == found.rows == found.imported + len(found.not_handled)
    return found.rows + sum(found.outside.values()) == found.counted_again


def worth(found: Positions) -> Decimal:
    """Of all that was imported, and of all that was not handled."""
    return sum((one.value for one in found.holdings), Decimal(0)) + sum(
        (one.amount or Decimal(0) for one in found.not_handled), Decimal(0)
    )


def test_schwab_is_refused_with_three_lines_and_imported_at_its_prices(reference: Path) -> None:
    path = reference / "brokers" / "bankroll_schwab_positions.CSV"

    with pytest.raises(BadInput) as refused:
        import_positions(path)
    found = import_positions(path, accept_values="price")

    assert [(breach.row, breach.rule.partition(":")[0]) for breach in refused.value.breaches] == [
        (4, "BND"), (5, "VTI"), (11, "Account Total")
    ]  # fmt: skip
    assert [one.instrument for one in found.holdings] == ["BND", "VTI", "UVXY", "USD"]
    assert [one.unhandled for one in found.not_handled] == ["bond", *2 * ["future or other derivative"]]
    assert (found.rows, found.accepted, str(found.as_of)) == (7, "price", "2019-01-01")
    assert accounted(found)


def test_fidelity_is_read_by_its_sections_to_the_sum_of_its_subtotals(reference: Path) -> None:
    found = import_positions(reference / "brokers" / "bankroll_fidelity_positions.csv")

    assert [one.instrument for one in found.holdings] == ["ROBO", "AAPL", "V", "USD"]
    assert [one.unhandled for one in found.not_handled] == ["bond", "option or warrant", "option or warrant"]
    assert worth(found) == Decimal("18738.30") + Decimal("9890.10") + Decimal("1633.03") + Decimal("15678.89")
    assert accounted(found)


def test_vanguard_is_refused_for_one_row_and_its_transactions_are_no_positions(reference: Path) -> None:
    path = reference / "brokers" / "bankroll_vanguard_positions_and_transactions.csv"

    with pytest.raises(BadInput) as refused:
        import_positions(path)
    found = import_positions(path, accept_values="value")

    assert [breach.rule.partition(":")[0] for breach in refused.value.breaches] == ["VT"]
    assert worth(found) == Decimal("34099.31")
    assert (found.rows, found.outside["transactions"]) == (6, 18)
    assert accounted(found)


def test_a_flex_file_without_positions_says_what_it_holds_instead(reference: Path) -> None:
    said = "no open positions and no cash but 3 InterestAccrualsCurrency, 1 SLBFee, 5 ChangeInDividendAccrual"

    with pytest.raises(BadInput, match=said):
        import_positions(reference / "brokers" / "bankroll_ibkr_activity.xml")


def test_an_activity_statement_keeps_each_currency_apart(reference: Path) -> None:
    found = import_positions(reference / "brokers" / "ib_activity_form_invented.csv")

    cash = {one.instrument: one.value for one in found.holdings if one.price == 1}
    assert cash == {"USD": Decimal("10000.00"), "CAD": Decimal("3200.00")}
    assert [(one.symbol, str(one.amount)) for one in found.not_handled] == [("ALPH 19JUN26 55 C", "-240")]
    assert accounted(found)


def test_a_13f_table_is_255_rows_and_the_sum_of_its_values(reference: Path) -> None:
    path = reference / "sec13f" / "13F-HR.infotable.xml"
    values = re.findall(r"<value>([0-9]+)</value>", path.read_text(encoding="utf-8"))

    found = import_positions(path)

    assert found.rows == len(values) == 255
    assert abs(worth(found) - sum(map(int, values))) < Decimal("0.01")
    assert {one.unhandled for one in found.not_handled} == {"principal of a debt"}
    assert accounted(found)


@pytest.mark.parametrize(("name", "rows", "unhandled"), [("ishares_TOPT_holdings.csv", 25, 2),
                                                         ("ark_form_invented.csv", 4, 0)])  # fmt: skip
def test_the_holdings_of_a_fund_are_read_with_their_money(
    name: str, rows: int, unhandled: int, reference: Path
) -> None:
    found = import_positions(reference / "funds" / name)

    assert (found.rows, len(found.not_handled)) == (rows, unhandled)
    assert "TSLA" not in [one.instrument for one in found.holdings if one.price == 1]
    assert found.holdings[-1].instrument == "USD"
    assert accounted(found)


@pytest.mark.parametrize(
    ("name", "accept", "names"),
    [("brokers/bankroll_fidelity_positions.csv", None, 3), ("brokers/ib_activity_form_invented.csv", None, 4),
     ("brokers/bankroll_vanguard_positions_and_transactions.csv", "value", 4),
     ("brokers/bankroll_schwab_positions.CSV", "price", 3), ("funds/ishares_TOPT_holdings.csv", None, 21),
     ("funds/ark_form_invented.csv", None, 3), ("sec13f/13F-HR.infotable.xml", None, 252)],
)  # fmt: skip
def test_each_file_is_a_checked_book_in_two_commands(
    name: str, accept: Accept | None, names: int, reference: Path, tmp_path: Path
) -> None:
    found = import_positions(reference / name, accept_values=accept)
    for file, text in book_files(found, "mine", dt.date(2026, 11, 20)).items():
        (tmp_path / file).write_text(text, encoding="utf-8", newline="")

    book = check(load(tmp_path)).book

    assert len(book.instruments) == len(book.classification.unclassified) == names
    rates = {"USD": 1.0} | book.rates
    assert book.value == pytest.approx(sum(float(one.value) * rates[one.currency] for one in found.holdings))
