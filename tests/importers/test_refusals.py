"""What is no export, or says two things: refused with the line, what is wrong, and a cure; all of it at once."""

from __future__ import annotations

import datetime as dt
import json
import random
import zipfile
from pathlib import Path

import pytest

from allocator.errors import BadInput
from allocator.importers import cells
from allocator.importers.formats import import_positions
from tests.thoroughness import count

SAMPLES = Path(__file__).parent / "samples"
HEAD = "Ticker,Shares,Price,Currency\n"


def sample(name: str) -> str:
    return (SAMPLES / name).read_text(encoding="utf-8-sig")


def refusal(content: str | bytes, folder: Path, name: str = "f.csv", **asked: str) -> str:
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(BadInput) as refused:
        import_positions(folder / name, **asked)  # type: ignore[arg-type]
    return str(refused.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "f.csv: the file is empty"),
        (b"\n , ,\n\n", "f.csv: the file is empty"),
        ('"The data and information, as provided"\n\n"Date downloaded Nov-20-2026"\n', "holds no table, only text"),
        (sample("fidelity.csv").split("\n")[0] + '\n\n"The data, as is"\n', "holds no positions: headings 1, texts 1"),
        ("This is no table, but words, as they come\nand more, too\n", "holds no table, only text"),
        ("ticker,weight\nAAA,0.5\n", "no header was recognised; row 1 has ticker, weight"),
        ("ticker;weight\nAAA;0.5\n", "no header was recognised; row 1 has ticker;weight"),
        ("a,b,c\n1,2,3\n", "no header was recognised; row 1 has a, b, c"),
        (b"\xd0\xcf\x11\xe0 and more", "is an Excel workbook of before 2007; save it as .xlsx"),
        ("<!DOCTYPE html>\n<html><body>signed out</body></html>", "is a web page and no export"),
        ("<FlexStatementResponse><Status>Fail</Status></FlexStatementResponse>", "no known format: <FlexStatementRes"),
        (HEAD + "AAA,10%,1,USD\n", "f.csv:2 quantity: must be a number (got '10%')"),
        (HEAD + "," * 4_000_001, "f.csv:2: holds more than 4,000,000 cells"),
        ('{"positions": []}', "is no table of cells but HTML, XML or JSON"),
        (HEAD.encode() + b"A\0A,1,2,USD\n", "is not text but a binary file"),
        ((HEAD + "AAA,1,2,USD\n").encode("utf-16-le"), "is not text but a binary file"),
        (b"\xff\xfeA", "is not UTF-16, as its mark says"),
        (HEAD.encode() + "Ä,1,2,USD\n".encode("latin-1"), "f.csv:2: is not UTF-8 text"),
        (HEAD + "A\x1bA,1,2,USD\n", r"f.csv:2: is not text: it holds the control character '\x1b'"),
        (HEAD + '"AAA,1,2,USD\n', "f.csv:2: the quotes do not fit"),
        (HEAD + "AAA,1,2,USD,9\n", "f.csv:2: the row has 5 cells and the header 4"),
        (HEAD + "AAA,1.234.5,12O,USD\n", "f.csv:2 quantity and price: must be a number (got '1.234.5' and '12O')"),
        (HEAD + "AAA,#VALUE!,1,USD\n", "f.csv:2 quantity: must be a number (got '#VALUE!')"),
        (HEAD + "AAA,1e20,1,USD\n", "f.csv:2 quantity: must be at most 1e15"),
        (HEAD + "AAA,1e99,1,USD\n", "f.csv:2 quantity: must be finite"),
        (HEAD + "=cmd(),1,1,USD\n", "does not begin with = (got '=cmd()')"),
        (HEAD + "@A,1,1,USD\n", "must not begin with a sign that a spreadsheet would run (got '@A')"),
        ("Account,Symbol,Shares,Price,Currency\n=a(),AAA,1,1,USD\n", "that no spreadsheet would run (got '=a()')"),
        (HEAD + "AAA,1,1,usd\n", "f.csv:2 currency: must be three capital letters (got 'usd')"),
        (HEAD + "AAA,1,1,USD\nBBB,1,1,\n", "f.csv:3 currency: must not be blank"),
        (HEAD + "AAA,1,1,USD\nAAA,1,2,USD\n", "f.csv:3: AAA has several prices: 1, 2"),
        (HEAD + "AAA,1,1,USD\nAAA,1,1,EUR\n", "f.csv:3: AAA is in two currencies"),
        (HEAD + "AAA,-1,1,USD\n", "holds nothing that can be held here: short position 1"),
        ("Ticker,Shares,Price\nAAA,1,1\n", "states no currency; say it, such as --currency USD"),
        ("Ticker,Shares,Price,Last Price\nAAA,1,1,1\n", "f.csv:1 Price: could each be the price: Price, Last Price"),
        (HEAD + "AAA,1,1,USD\nTicker,Shares,Value\nAAA,1,1\n", "f.csv:3: another table begins here"),
        ("Ticker;Shares;Price\nAAA;1,234;1\n", "write 1234 without thousands separators, or 1.234 if the comma"),
        ("Ticker;Shares;Price\nAAA;1.000;25\n", "its point may part thousands or decimals (got '1.000'); write 1000"),
        (HEAD + "AAA,1,1,USD\n\n" + HEAD + "AAA,1,1,USD\n", "f.csv:5: AAA is there under the headings of rows 1 and 4"),
        ("Ticker;Shares;Price\nAAA;1;1,5\n", "f.csv:2 price: must be a number (got '1,5'); write 1.5 with a decimal"),
        (sample("vanguard.csv").replace("40000001,Van", "40000002,Van"), "--account: 40000001, 40000002"),
        (sample("ark.csv").replace("11/20/2026", "11/19/2026", 1), "has rows of 2 days: 11/19/2026, 11/20/2026"),
        (sample("ishares.csv").replace('"63.20"', '"30.00"'), "weights: they sum to 66.75 % and not to 100 %"),
        (sample("flex.xml").replace("?>", "?><!DOCTYPE a [<!ENTITY b 'c'>]>", 1), "f.csv:1: has a DOCTYPE"),
        (sample("flex.xml")[:-40], "is not well-formed XML"),
        (sample("flex.xml").replace('markPrice="700.5"', 'markPrice="NaN"'), "f.csv:10 markPrice: must be a number"),
        (sample("flex.xml").replace('position="10"', 'position="1,2,3"'), "position: must be a number (got '1,2,3')"),
        (sample("flex.xml").replace('count="1"', 'count="2"'), "holds 1 statements and says 2; export it again"),
        (sample("infotable.xml").replace(">300<", "><"), "f.csv:3 sshPrnamt: must be a number"),
        (sample("infotable.xml").replace("infoTable>", "row>"), "is XML of no known format: <informationTable>"),
        ("<a>" * 100 + "</a>" * 100, "holds more than an export does"),
        (f"<a>{'x' * 200_000}</a>", "holds a text that is longer than an export's"),
        (sample("activity.csv").replace("Close Price", "Schlusskurs"), "this section needs columns for detail, kind"),
        (sample("activity.csv").replace(",90350", ",90351").replace("707505,202505", "1,2", 1), "META: the value is 1"),
    ],
)  # fmt: skip
def test_what_is_no_export_is_refused_with_what_is_wrong(content: str | bytes, said: str, tmp_path: Path) -> None:
    assert said in refusal(content, tmp_path)


PIECES = [
    b"", b'"', b",", b"\n", b"\r", b"\0", b"$", b"-", b"(", b"%", b"1e99", b"NaN", b"--", b"<", b">", b"&", b"Total",
    b";", b"<!DOCTYPE a>", b"\xff", b"\xfe\xff", b"\xc2\xa0", b"infoTable", b"9" * 400, b"USD", b"0", b"=", b"Cash",
    b"-1", b"\t",
]  # fmt: skip


@pytest.mark.parametrize("seed", range(count(400, 10)))
def test_a_spoiled_file_is_refused_or_every_line_of_it_accounted_for(seed: int, tmp_path: Path) -> None:
    """Ten mutants a seed: cut, doubled, overwritten; never anything but a refusal or an answer that adds up."""
    rng = random.Random(seed)
    for _ in range(10):
        path = rng.choice(sorted(SAMPLES.iterdir()))
        content = bytearray(path.read_bytes())
        for _ in range(rng.randrange(1, 6)):
            at = rng.randrange(len(content) + 1)
            other = rng.randrange(len(content) + 1)
            piece = rng.choice([rng.choice(PIECES), bytes(content[other : other + 100]), bytes([rng.randrange(256)])])
            content[at : at + rng.choice([0, 1, 10, 200])] = piece
        (tmp_path / path.name).write_bytes(content)
        try:
            found = import_positions(tmp_path / path.name, accept_values=rng.choice([None, "price", "value"]))
        except BadInput:
            continue
        assert found.rows + sum(found.outside.values()) == found.counted_again
        assert sum(len(one.rows) for one in found.holdings) == found.imported
        json.dumps(found.document(), allow_nan=False)


def test_every_error_of_a_file_is_told_at_once(tmp_path: Path) -> None:
    text = HEAD + "AAA,x,1,USD\nBBB,1,y,USD\nCCC,1,1,USD,9\n"

    assert [line.partition(" ")[0].rstrip(":") for line in refusal(text, tmp_path).splitlines()] == [
        "f.csv:2", "f.csv:3", "f.csv:4"
    ]  # fmt: skip


def test_an_unknown_format_account_or_map_is_refused_with_what_there_is(tmp_path: Path) -> None:
    text = sample("schwab.csv")
    (tmp_path / "map.csv").write_text("ticker,isin\nA,B\n", encoding="utf-8")
    (tmp_path / "two.csv").write_text("instrument,cusip\nA,037833100\nB,037833100\n,1\n", encoding="utf-8")

    assert "no such format (got 'shwab'); did you mean 'schwab'?" in refusal(text, tmp_path, format="shwab")
    assert "is not of the form of Vanguard positions but of Schwab" in refusal(text, tmp_path, format="vanguard")
    assert "no such account in f.csv (got '482'); known here: Individual" in refusal(text, tmp_path, account="482")
    assert "must have a column instrument" in refusal(text, tmp_path, identifiers=str(tmp_path / "map.csv"))
    told = refusal(text, tmp_path, identifiers=str(tmp_path / "two.csv"))
    assert "two.csv:3 cusip: is of A and of B" in told
    assert "two.csv:4 instrument: must not be blank" in told


def test_a_blank_name_is_told_once_and_as_a_blank(tmp_path: Path) -> None:
    said = refusal(HEAD + "AAA,1,1,USD\n,2,1,USD\n", tmp_path)

    assert said == "f.csv:3 instrument: must not be blank; fill it in"


def test_cash_of_another_currency_is_no_security_of_the_one_that_is_said_of_all(tmp_path: Path) -> None:
    rows = "Ticker,Shares,Price{}\nAAA,1,9{}\nUSD,100,1{}\nEUR,5,1{}\n"
    said = refusal(rows.format("", "", "", ""), tmp_path, currency="EUR")

    assert said.startswith("f.csv:3: USD at a price of 1 EUR would be a security, and reads like cash; add a column")
    (tmp_path / "cured.csv").write_text(rows.format(",Currency", ",EUR", ",USD", ",EUR"), encoding="utf-8")
    found = import_positions(tmp_path / "cured.csv")
    assert [(one.instrument, one.currency) for one in found.holdings] == [
        ("AAA", "EUR"),
        ("USD", "USD"),
        ("EUR", "EUR"),
    ]


def test_errors_of_cells_accounts_values_and_names_are_told_together(tmp_path: Path) -> None:
    two = sample("vanguard.csv").replace("40000001,Van", "40000002,Van").replace("61.25,", "6l.25,")
    apart = HEAD.replace("Currency", "Value,Currency") + "AAA,1,2,3,USD\nAAA,1,4,4,USD\nBBB,1,2,4,USD\n"

    told = refusal(two, tmp_path).splitlines()
    assert [line.partition(":")[0] for line in told] == ["f.csv", "f.csv account"]
    told = refusal(apart, tmp_path).splitlines()
    assert [line.split(": ")[1] for line in told] == ["AAA", "BBB", "AAA has several prices"]


def test_a_period_is_of_13f_tables_alone(tmp_path: Path) -> None:
    (tmp_path / "f.csv").write_text(sample("ark.csv"), encoding="utf-8")

    with pytest.raises(BadInput, match="--period: is of 13F tables alone, and this is ARK holdings; leave it out"):
        import_positions(tmp_path / "f.csv", period=dt.date(2026, 9, 30))


def test_a_file_that_is_larger_than_an_export_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "f.csv").open("wb") as opened:
        opened.truncate(cells.MOST_BYTES + 1)

    with pytest.raises(BadInput, match="is 50 MB, and 50 MB are the most"):
        import_positions(tmp_path / "f.csv")


def test_a_workbook_that_unpacks_to_more_than_a_table_is_not_unpacked(tmp_path: Path) -> None:
    pytest.importorskip("openpyxl")
    with zipfile.ZipFile(tmp_path / "f.xlsx", "w", zipfile.ZIP_DEFLATED) as bomb:
        bomb.writestr("xl/worksheets/sheet1.xml", b"<" + b" " * 3_000_000)

    with pytest.raises(BadInput, match="which no table does"):
        import_positions(tmp_path / "f.xlsx")


def test_an_entity_of_a_file_is_never_read(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret", encoding="utf-8")
    entity = f'<!DOCTYPE a [<!ENTITY b SYSTEM "{tmp_path / "secret"}">]>'
    text = sample("flex.xml").replace("?>", f"?>{entity}", 1).replace('symbol="META"', 'symbol="&b;"')

    told = refusal(text, tmp_path, "f.xml")

    assert "has a DOCTYPE" in told
    assert "secret" not in told
