"""Each format as its issuer writes it, contents invented: every line is imported, not handled, or no position."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from pathlib import Path

import pytest

from allocator.errors import BadInput
from allocator.importers import FORMATS
from allocator.importers.formats import import_positions
from allocator.importers.positions import Positions

SAMPLES = Path(__file__).parent / "samples"
DAY = dt.date(2026, 11, 20)

# By file: format, account, day, holdings, (row, why, amount) of what was not handled, lines that are no position.
EXPECTED: dict[str, tuple[str, str, dt.date | None, list[str], list[tuple[int, str, str]], int]] = {
    "schwab.csv": (
        "schwab", "Individual ...482", DAY,
        ["NVDA 120 190 USD", "BND 100.5 74.2 USD", "USD 3020.14 1 USD"],
        [(6, "option or warrant", "-410.00"), (7, "bond", "5001.56")], 3,
    ),
    "fidelity.csv": (
        "fidelity", "Z10000001", DAY,
        ["AVGO 30 350 USD", "FXAIX 25.125 210.1 USD", "USD 2500.75 1 USD"],
        [(5, "bond", "2988.36"), (6, "option or warrant", "-320.00"), (7, "pending, not settled", "-193.40")], 4,
    ),
    "fidelity_statement.csv": (
        "fidelity", "X20000002", None,
        ["AMZN 50 240 USD", "CASH 12 70.5 USD", "VOO 4 600 USD", "USD 1500.25 1 USD"],
        [(13, "bond", "1991.40"), (17, "a kind that is not known: annuities", "5000.00")], 12,
    ),
    "vanguard.csv": (
        "vanguard", "40000001", None,
        ["VTI 61.25 330.4 USD", "VGIT 80 59.8 USD", "USD 1250.41 1 USD"], [], 3,
    ),
    "activity.csv": (
        "ibkr-activity", "U1000001", DAY,
        ["META 1010 700.5 USD", "ASML 20 810.2 EUR", "USD 8700 1 USD"],
        [(15, "future or other derivative", "345000"), (20, "borrowed cash", "-250.5")], 18,
    ),
    "flex.xml": (
        "ibkr-flex", "U1000001", DAY, ["META 10 700.5 USD", "USD 8700 1 USD"], [(12, "option or warrant", "620")], 2,
    ),
    "infotable.xml": (
        "sec-13f", "main", None, ["02079K305 400 300 USD", "67066G104 100 190 USD"],
        [(24, "principal of a debt", "5100")], 0,
    ),
    "ishares.csv": (
        "ishares", "iShares Invented Leaders ETF", DAY,
        ["NVDA 10000 190 USD", "BRKB 2000 502.33 USD", "USD 100002.79 1 USD"],
        [(14, "future or other derivative", "0.00")], 10,
    ),
    "ark.csv": (
        "ark", "ARKX", DAY, ["ALPH 41000 185 USD", "BETA UW 100000 20 USD", "USD 415000.2 1 USD"], [], 2,
    ),
    "generic.csv": (
        "generic", "main", None, ["NVDA 1200 190 USD", "GOOGL 300 300 USD", "USD 5000 1 USD"],
        [(4, "a kind that is not known: Crypto", "180000.00")], 2,
    ),
}  # fmt: skip


def rows(found: Positions) -> list[str]:
    return [f"{one.instrument} {one.quantity.normalize():f} {one.price.normalize():f} {one.currency}"
            for one in found.holdings]  # fmt: skip


@pytest.mark.parametrize("name", EXPECTED)
def test_every_line_of_a_sample_is_accounted_for(name: str) -> None:
    recognised, account, day, holdings, unhandled, outside = EXPECTED[name]

    found = import_positions(SAMPLES / name)

    assert (found.format, found.account, found.as_of) == (recognised, account, day)
    assert rows(found) == holdings
    assert [(one.row, one.unhandled, str(one.amount)) for one in found.not_handled] == unhandled
    assert sum(found.outside.values()) == outside
    assert found.rows + outside == found.counted_again
    assert found.disagreements == ()


def test_there_is_a_sample_of_every_format() -> None:
    assert {recognised for recognised, *_ in EXPECTED.values()} == set(FORMATS)


@pytest.mark.parametrize("name", EXPECTED)
def test_a_format_can_be_said_and_no_other_is_taken_for_it(name: str) -> None:
    own = EXPECTED[name][0]

    assert import_positions(SAMPLES / name, format=own).document() == import_positions(SAMPLES / name).document()
    for other in FORMATS.keys() - {own, "generic"}:
        with pytest.raises(BadInput, match=r"is not of the form|is XML of no known format|no header|holds no table"):
            import_positions(SAMPLES / name, format=other)


@pytest.mark.parametrize("name", [name for name in EXPECTED if name.endswith(".csv")])
@pytest.mark.parametrize("written", ["utf-8-sig", "utf-16", "utf-16-be", "crlf", "cr", "excel"])
def test_a_table_says_the_same_however_it_is_written(name: str, written: str, tmp_path: Path) -> None:
    text = (SAMPLES / name).read_text(encoding="utf-8-sig")
    path = tmp_path / name
    if written == "excel":
        path = as_workbook(SAMPLES / name, tmp_path)
    elif written in ("crlf", "cr"):
        path.write_bytes(text.replace("\n", "\r\n" if written == "crlf" else "\r").encode())
    else:
        path.write_bytes((b"\xfe\xff" if written == "utf-16-be" else b"") + text.encode(written))

    found, plain = import_positions(path), import_positions(SAMPLES / name)

    assert rows(found) == rows(plain)
    assert [(one.row, one.unhandled) for one in found.not_handled] == [
        (one.row, one.unhandled) for one in plain.not_handled
    ]
    assert (found.counted_again, found.as_of, found.account) == (plain.counted_again, plain.as_of, plain.account)


def as_workbook(path: Path, folder: Path) -> Path:
    """The same cells, as text, on the same rows of a workbook."""
    import csv

    openpyxl = pytest.importorskip("openpyxl")
    workbook = openpyxl.Workbook()
    with path.open(encoding="utf-8-sig", newline="") as opened:
        reader, start = csv.reader(opened), 1
        for cells in reader:
            for at, cell in enumerate(cells, 1):
                if cell:
                    workbook.active.cell(start, at, cell).data_type = "s"
            start = reader.line_num + 1
    workbook.save(folder / "positions.xlsx")
    return folder / "positions.xlsx"


def test_numbers_and_days_of_workbooks_and_parquet_are_read_as_they_are(tmp_path: Path) -> None:
    import pandas as pd

    frame = pd.DataFrame({
        "symbol": ["AAA", "BBB"], "quantity": [10, 2.5], "price": [7.25, 100.0], "currency": ["USD", "USD"],
        "bought": [pd.Timestamp("2026-01-02"), None],
    })  # fmt: skip
    frame.to_parquet(tmp_path / "positions.parquet")
    frame.to_excel(tmp_path / "positions.xlsx", index=False)

    for name in ("positions.parquet", "positions.xlsx"):
        found = import_positions(tmp_path / name)
        assert rows(found) == ["AAA 10 7.25 USD", "BBB 2.5 100 USD"]
        assert found.notes == ("columns that are not used: bought",)


def test_the_table_that_is_written_keeps_the_contract_and_says_where_each_row_is_from(tmp_path: Path) -> None:
    from allocator.tables.files import read_table
    from allocator.tables.validation import validate

    for name in EXPECTED:
        (tmp_path / "holdings.csv").write_text(import_positions(SAMPLES / name).csv(), encoding="utf-8")
        typed, breaches = validate("holdings", read_table(tmp_path / "holdings.csv"))
        assert breaches == [], name
        assert typed["source"].str.contains("row").all()


def test_one_account_of_several_is_chosen_and_the_rows_of_others_are_counted(tmp_path: Path) -> None:
    preamble, table = (SAMPLES / "schwab.csv").read_text(encoding="utf-8").split("\n\n")
    day = '"Positions for All-Accounts as of 09:59 PM ET, 12/06/2026"'
    both = f'{day}\n\n"Individual ...111"\n{table}\n\n"Roth IRA ...222"\n{table.replace("120", "60")}'
    both = both.replace('"60","$190.00","-1.2%","-$2.31","$22,800.00"', '"60","$190.00","-1.2%","-$2.31","$11,400.00"')
    both = both.replace('"$37,868.80"', '"$26,468.80"', 2).replace('"$26,468.80"', '"$37,868.80"', 1)
    (tmp_path / "all.csv").write_text(both, encoding="utf-8")

    with pytest.raises(BadInput, match=r"holds 2 accounts.*--account: Individual \.\.\.111, Roth IRA \.\.\.222"):
        import_positions(tmp_path / "all.csv")
    found = import_positions(tmp_path / "all.csv", account="Roth IRA ...222")

    assert "Positions for account" in preamble
    assert rows(found) == ["NVDA 60 190 USD", "BND 100.5 74.2 USD", "USD 3020.14 1 USD"]
    assert (found.as_of, found.outside["rows of other accounts"]) == (dt.date(2026, 12, 6), 5)
    assert found.rows + sum(found.outside.values()) == found.counted_again


def test_what_contradicts_itself_is_refused_or_the_price_or_the_value_is_accepted_and_written_down(
    tmp_path: Path,
) -> None:
    text = (SAMPLES / "schwab.csv").read_text(encoding="utf-8").replace("$22,800.00", "$24,000.00")
    (tmp_path / "s.csv").write_text(text, encoding="utf-8")

    with pytest.raises(BadInput) as refused:
        import_positions(tmp_path / "s.csv")
    by_price = import_positions(tmp_path / "s.csv", accept_values="price")
    by_value = import_positions(tmp_path / "s.csv", accept_values="value")

    assert [breach.row for breach in refused.value.breaches] == [4]
    assert "NVDA: the value is 24,000.00 and quantity x price is 22,800.00" in str(refused.value)
    assert (rows(by_price)[0], rows(by_value)[0]) == ("NVDA 120 190 USD", "NVDA 120 200 USD")
    for found, word in ((by_price, "price"), (by_value, "value")):
        assert f'row 4; {word} accepted where the value is 24,000.00 and quantity x price is 22,800.00"' in found.csv()
        assert [one.price for one in found.holdings[1:]] == [Decimal("74.20"), 1]


def test_what_is_accepted_of_a_total_is_written_down_too(tmp_path: Path) -> None:
    text = (SAMPLES / "schwab.csv").read_text(encoding="utf-8").replace("$37,868.80", "$40,000.00")
    (tmp_path / "s.csv").write_text(text, encoding="utf-8")

    with pytest.raises(
        BadInput, match=r"Account Total: the total is 40,000\.00 and the values of its rows sum to 37,8"
    ):
        import_positions(tmp_path / "s.csv")
    found = import_positions(tmp_path / "s.csv", accept_values="value")

    assert rows(found) == rows(import_positions(SAMPLES / "schwab.csv"))
    assert "value accepted although Account Total: the total is 40,000.00" in found.csv().splitlines()[-1]


def test_an_identifier_map_names_instruments_and_suggests_without_guessing() -> None:
    known = SAMPLES / "identifiers.csv"

    filing = import_positions(SAMPLES / "infotable.xml", identifiers=known)
    fund = import_positions(SAMPLES / "ishares.csv", identifiers=known)

    assert rows(filing) == ["GOOGL 400 300 USD", "67066G104 100 190 USD"]  # by CUSIP; a name that is only near is none
    assert [(one.cusip, said) for one, said in filing.suggestions] == [("67066G104", "NVDA?")]
    assert rows(fund)[1].startswith("BRKB ")
    assert [(one.symbol, said) for one, said in fund.suggestions] == [("BRKB", "BRK.B?")]


def test_two_securities_are_never_one_instrument_because_their_names_are_alike(tmp_path: Path) -> None:
    text = (SAMPLES / "infotable.xml").read_text(encoding="utf-8").replace("02079K305", "02079K107", 1)
    (tmp_path / "f.xml").write_text(text, encoding="utf-8")
    (tmp_path / "map.csv").write_text("instrument,name\nGOOGL,Alphabet  INC\n", encoding="utf-8")

    with pytest.raises(BadInput, match="GOOGL would be two securities: CUSIP 02079K107 and 02079K305; map them by"):
        import_positions(tmp_path / "f.xml", identifiers=tmp_path / "map.csv")


@pytest.mark.parametrize(
    ("period", "values", "told"),
    [
        (None, "dollars", "values are dollars: the median implied price is 300"),
        (None, "thousands", "values are thousands of dollars: the median implied price is 0.3"),
        (dt.date(2022, 6, 30), "thousands", "values are thousands of dollars: by the day"),
        (dt.date(2022, 12, 31), "dollars", "values are dollars: by the day"),
        (dt.date(2022, 9, 30), "thousands", "values are thousands of dollars: the median"),
    ],
)
def test_a_13f_table_is_in_dollars_or_thousands_by_its_period(
    period: dt.date | None, values: str, told: str, tmp_path: Path
) -> None:
    (tmp_path / "f.xml").write_text(filing(values), encoding="utf-8")

    found = import_positions(tmp_path / "f.xml", period=period)

    assert rows(found) == ["02079K305 400 300 USD", "67066G104 100 190 USD"]
    assert found.notes[0].startswith(told)
    assert found.as_of == period


@pytest.mark.parametrize(("period", "values", "cure"), [("2022-06-30", "dollars", "2023-03-31"),
                                                        ("2023-03-31", "thousands", "2022-06-30")])  # fmt: skip
def test_a_13f_table_in_another_unit_than_its_period_asks_for_is_refused_with_a_cure_that_works(
    period: str, values: str, cure: str, tmp_path: Path
) -> None:
    (tmp_path / "f.xml").write_text(filing(values), encoding="utf-8")

    with pytest.raises(BadInput, match=f"say --period {cure}"):
        import_positions(tmp_path / "f.xml", period=dt.date.fromisoformat(period))

    assert rows(import_positions(tmp_path / "f.xml", period=dt.date.fromisoformat(cure)))[0] == "02079K305 400 300 USD"


def filing(values: str) -> str:
    """The 13F sample in dollars, or in thousands of them."""
    text = (SAMPLES / "infotable.xml").read_text(encoding="utf-8")
    if values == "thousands":
        for dollars in ("90000", "30000", "19000"):
            text = text.replace(f">{dollars}<", f">{dollars[:-3]}<")
    return text


def test_a_whole_submission_is_read_by_its_day_and_held_to_its_cover(tmp_path: Path) -> None:
    head = (
        "-----BEGIN PRIVACY-ENHANCED MESSAGE-----\n<SEC-DOCUMENT>0000000000-23-000001.txt\n"
        "CONFORMED PERIOD OF REPORT:\t20230331\nFILED AS OF DATE:\t\t20230512\n<DOCUMENT>\n<TEXT>\n<XML>\n"
        '<?xml version="1.0"?>\n<edgarSubmission><summaryPage><tableEntryTotal>4</tableEntryTotal>'
        "<tableValueTotal>144100</tableValueTotal></summaryPage></edgarSubmission>\n</XML>\n</TEXT>\n<XML>\n"
    )
    text = head + filing("dollars") + "</XML>\n</SEC-DOCUMENT>\n"
    (tmp_path / "f.txt").write_text(text, encoding="utf-8")

    found = import_positions(tmp_path / "f.txt")

    assert (rows(found)[1], found.as_of) == ("67066G104 100 190 USD", dt.date(2023, 3, 31))
    assert text.splitlines()[found.not_handled[0].row - 1].strip() == "<ns1:infoTable>"
    for old, new, said in ((">4<", ">5<", "the cover says 5 rows"), ("144100", "150000", "the total is 150,000")):
        (tmp_path / "f.txt").write_text(text.replace(old, new), encoding="utf-8")
        with pytest.raises(BadInput, match=said):
            import_positions(tmp_path / "f.txt")
