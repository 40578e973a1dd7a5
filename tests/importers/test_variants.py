"""What the same issuers write in other years and for other accounts, with what is odd in each; contents invented."""

from __future__ import annotations

from pathlib import Path

import pytest

from allocator.errors import BadInput
from allocator.importers.formats import import_positions

SAMPLES = Path(__file__).parent / "samples"

IBKR = (
    "Open Positions,Header,DataDiscriminator,Asset Category,Currency,Symbol,Quantity,Mult,Cost Price,Cost Basis,"
    "Close Price,Value,Unrealized P/L,Unrealized P/L %,Code\n"
)
CASH = "Cash Report,Header,Currency Summary,Currency,Total,Securities,Futures\n"
FLEX = (
    '<FlexQueryResponse><FlexStatements><FlexStatement accountId="U1">{}</FlexStatement></FlexStatements>'
    "</FlexQueryResponse>"
)
SCHWAB = '"Positions for account Joint ...9 as of 12:33 PM ET, 2026/11/20"{0}\n{1}\n'

# What is odd; the file; format and account; holdings; what was not handled.
VARIANTS: dict[str, tuple[str, str, list[str], list[str]]] = {
    "Schwab, every line as wide as the table": (
        SCHWAB.format(',"","","",""', '"","","","",""')
        + '"Symbol","Description","Qty (Quantity)","Mkt Val (Market Value)","Asset Type"\n'
        '"SCHB","SCHWAB US BROAD MARKET ETF","10.5","$105.00","ETFs & Closed End Funds"\n'
        '"CVR1","SOME RIGHT","3","N/A","Equity"\n"Cash & Cash Investments","--","--","$7.50","Cash and Money Market"\n'
        '"Positions Total","","--","$112.50","--"\n',
        "schwab Joint ...9", ["SCHB 10.5 10 USD", "USD 7.5 1 USD"], ["CVR1: neither price nor value is stated"],
    ),
    "Schwab of 2020, without a column of kinds": (
        SCHWAB.format("", "") + '"Symbol","Description","Quantity","Price","Market Value","% Of Account",\n'
        '"AAPL","APPLE INC","2","$100.00","$200.00","50%",\n'
        '"AAPL 12/18/2026 90.00 P","PUT APPLE INC $90","1","$1.00","$100.00","1%",\n'
        '"91282CJL6","US TREASURY NOTE","1,000","$99.00","$990.00","40%",\n'
        '"SWVXX","SCHWAB PRIME ADV","50","$1.00","$50.00","2%",\n'
        '"Cash & Money Market","--","--","--","$60.00","5%",\n"Account Total","--","--","--","$1,400.00","--",\n',
        "schwab Joint ...9", ["AAPL 2 100 USD", "USD 110 1 USD"],
        ["AAPL 12/18/2026 90.00 P: option or warrant", "91282CJL6: bond"],
    ),
    "Fidelity of 2026, pending activity beside its column": (
        "Account number,Account name,Symbol,Description,Quantity,Last price,Current value,Total gain/loss dollar,Type\n"
        "Z1,Individual - TOD,VTI,VANGUARD TOTAL STOCK MKT ETF,12,$380.65,\"$4,567.80\",$100.00,Cash\n"
        "Z1,Individual - TOD,Pending activity,,,,,-$1.50,\nZ1,Individual - TOD,USD***,US DOLLARS,,,$5.25,,Cash\n"
        "Z1,Individual - TOD,FCASH**,HELD IN FCASH,,,$4.75,,Cash\n,,,,,,,,\n\"Date downloaded 11/20/2026\",,,,,,,,\n",
        "fidelity Z1", ["VTI 12 380.65 USD", "USD 10 1 USD"], ["Pending activity: pending, not settled -1.50"],
    ),
    "Fidelity, funds of a plan by CUSIP and shares that are named like cash": (
        "Account Number,Account Name,Symbol,Description,Quantity,Last Price,Current Value,Type\n"
        "86689,PLAN,31617E745,SOME POOL CLASS 3,10,$50.00,$500.00,\n"
        "86689,PLAN,CASH,PATHWARD FINANCIAL,2,$70.00,$140.00,\n"
        "86689,PLAN,TLT,ISHARES 20+ YEAR TREASURY BOND ETF,1,$90.00,$90.00,\n"
        "86689,PLAN,912797LN5,SOMETHING SHORT,1000,$99.50,$995.00,\n",
        "fidelity 86689", ["31617E745 10 50 USD", "CASH 2 70 USD", "TLT 1 90 USD"], ["912797LN5: bond 995.00"],
    ),
    "Vanguard, a plan of 529 without symbols": (
        "Fund Account Number,Fund Name,Price,Shares,Total Value\n"
        "555-1,Aggressive Growth Portfolio,40.00,2.5,100.00\n\n\n"
        "Fund Account Number,Trade Date,Process Date,Transaction Type,Shares\n555-1,1/2/2026,1/2/2026,Buy,1\n",
        "vanguard 555-1", ["Aggressive Growth Portfolio 2.5 40 USD"], [],
    ),
    "Vanguard, dollars in quotes and cash without a symbol": (
        "Account Number,Investment Name,Symbol,Shares,Share Price,Total Value,\n"
        '00001111,SOME ADMIRAL,VTSAX,100.5,"$118.50","$11,909.25",\n00001111,CASH SWEEP,,250.00,1.00,250.00,\n'
        "00001111,U S TREASURY NOTE 4.5%,,1000,99.50,995.00,\n",
        "vanguard 00001111", ["VTSAX 100.5 118.5 USD", "USD 250 1 USD"], ["U S TREASURY NOTE 4.5%: bond 995.00"],
    ),
    "Interactive Brokers, a total once more in the base currency": (
        "Account Information,Header,Field Name,Field Value\nAccount Information,Data,Account,U9\n"
        + IBKR + "Open Positions,Data,Summary,Stocks,USD,VOO,2,1,100,200,110,220,20,10,\n"
        "Open Positions,Total,,Stocks,USD,,,,,200,,220,20,,\nOpen Positions,Total,,Stocks,CHF,,,,,180,,198,18,,\n"
        "Open Positions,Total,,Total,,,,,,,,198,,,\n"
        + CASH + "Cash Report,Data,Ending Cash,Base Currency Summary,9,9,0\nCash Report,Data,Ending Cash,CHF,0,0,0\n"
        "Cash Report,Data,Ending Cash,USD,10,10,0\nCash Report,Data,Ending Settled Cash,USD,10,10,0\n",
        "ibkr-activity U9", ["VOO 2 110 USD", "USD 10 1 USD"], ["CHF: nothing is held 0"],
    ),
    "Interactive Brokers, cash in the base currency alone": (
        "Account Information,Header,Field Name,Field Value\nAccount Information,Data,Base Currency,EUR\n"
        + IBKR + "Open Positions,Data,Summary,Stocks,EUR,SAP,1,1,100,100,100,100,0,0,\n"
        + CASH + "Cash Report,Data,Starting Cash,Base Currency Summary,1,1,0\n"
        "Cash Report,Data,Ending Cash,Base Currency Summary,\"1,250.5\",\"1,250.5\",0\n",
        "ibkr-activity main", ["SAP 1 100 EUR", "EUR 1250.5 1 EUR"], [],
    ),
    "Interactive Brokers, a realized summary with foreign exchange": (
        IBKR.replace("Open Positions", "Long Open Positions").replace("Symbol,", "Symbol,Open,")
        + "Long Open Positions,Data,Summary,Stocks,CAD,ENB,-,154,1,51,7854,49.35,7599.9,1,1,\n"
        'Long Open Positions,Data,Lot,Stocks,CAD,ENB,"2023-07-07, 15:39:46",15,,48,727,49.35,740.25,1,1,ST\n'
        "Long Open Positions,Data,Summary,Forex,EUR,EUR,-,300,1,1,300,1,300,0,0,\n",
        "ibkr-activity main", ["ENB 154 49.35 CAD"], ["EUR: future or other derivative 300"],
    ),
    "Flex, without count, kind and value, and with currencies of which nothing is held": (
        FLEX.format(
            '<OpenPosition symbol="VOO" currency="USD" position="1,012" markPrice="500"/>'
            '<OpenPosition symbol="AAPL  270115C00200000" currency="USD" position="2" positionValue="24"/>'
            '<OpenPosition symbol="USD.EUR" assetCategory="CASH" currency="USD" position="9" positionValue="9"/>'
            '<CashReportCurrency currency="ILS" endingCash="0"/><CashReportCurrency currency="USD" endingCash="1000"/>'
        ),
        "ibkr-flex U1", ["VOO 1012 500 USD", "USD 1000 1 USD"],
        ["AAPL  270115C00200000: option or warrant 24", "USD.EUR: foreign exchange 9", "ILS: nothing is held 0"],
    ),
    "iShares of 2019, with the column Shares and borrowed cash": (
        'Fund Holdings as of,"Jun 28, 2019"\n\nTicker,Name,Sector,Asset Class,Market Value,Weight (%),Notional Value,'
        "Shares,Price,Location,Exchange,Currency,FX Rate,Market Currency,Accrual Date\n"
        'ABC,Alpha,Industrials,Equity,"1,001","100.10","1,001","10","100.10",United States,NASDAQ,USD,1.00,USD,--\n'
        'USD,USD CASH,Cash and/or Derivatives,Cash,"-1.00","-0.10","-1.00","-1.00","100.00",-,-,USD,1.00,USD,-\n',
        "ishares main", ["ABC 10 100.1 USD"], ["USD: borrowed cash -1.00"],
    ),
    "iShares abroad, with cash of another currency at a hundred of it": (
        'iShares Abroad ETF\nFund Holdings as of,"Nov 20, 2026"\n\nTicker,Name,Asset Class,Market Value,Weight (%),'
        "Quantity,Price,Currency,FX Rate,Market Currency\n"
        '7203,TOYOTA MOTOR CORP,Equity,"9,000.00","90.00","500.00","18.00",USD,"150.00",JPY\n'
        'JPY,JPY CASH,Cash,"1,000.00","10.00","150,000.00","0.67",USD,"150.00",JPY\n',
        "ishares iShares Abroad ETF", ["7203 500 18 USD", "USD 1000 1 USD"], [],
    ),
    "iShares, a fund of bonds with one bond fund": (
        'iShares Bonds ETF\nFund Holdings as of,"Nov 20, 2026"\n\nName,Sector,Asset Class,Market Value,Weight (%),'
        "Notional Value,Par Value,CUSIP,ISIN,Price,Currency\n"
        '"A CORP","Banking","Fixed Income","990.00","99.00","990.00","1,000.00","000000AA1","-","99.00","USD"\n'
        '"OTHER BOND ETF","-","ETF","10.00","1.00","10.00","2.00","000000AB2","US000000AB29","5.00","USD"\n',
        "ishares iShares Bonds ETF", ["000000AB2 2 5 USD"], ["A CORP: bond 990.00"],
    ),
    "ARK, days as ISO, weights without a sign, a warrant and a row of nothing": (
        "date,fund,company,ticker,cusip,shares,market value($),weight(%)\n"
        "2026-11-20,ARKQ,TESLA INC,TSLA,88160R101,100,25000.00,99.0\n"
        "2026-11-20,ARKQ,SOME HOLDINGS WTS,,X1,10,20.00,0.5\n"
        "2026-11-20,ARKQ,CASH & EQUIVALENTS,USD,,5,$5.00,0.5\n2026-11-20,ARKQ,,,,,,\n",
        "ark ARKQ", ["TSLA 100 250 USD", "USD 5 1 USD"],
        ["SOME HOLDINGS WTS: option or warrant 20.00", "row 5: no quantity is stated"],
    ),
    "cash under the names that brokers have for it, and columns in short": (
        "Ticker,Description,Qty,Mkt Price,Mkt Value,CCY\nCash & Cash Investments,--,--,--,20,USD\n"
        "Money Market,,500,,500,USD\nSPAXX**,HELD IN MONEY MARKET,3,1,3,USD\n,FDIC INSURED DEPOSIT,7,1,7,USD\n"
        "VTI,SOME FUND,2,10,20,USD\n",
        "generic main", ["VTI 2 10 USD", "USD 530 1 USD"], [],
    ),
    "semicolons, three decimals beside a number that shows what its point is": (
        "Ticker;Shares;Price;Currency\nAAA;1.125;25.5;EUR\n", "generic main", ["AAA 1.125 25.5 EUR"], [],
    ),
    "another broker, with dollars behind the names of columns": (
        "Account Summary\nAccount,Net Account Value\nx-1,100\n\n"
        "Symbol,Last Price $,Change $,Quantity,Price Paid $,Value $,Currency\n"
        "VTI,200.00,1,2,150.00,400.00,USD\nTOTAL,,,,,400.00,\n",
        "generic main", ["VTI 2 200 USD"], [],
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", VARIANTS)
def test_a_file_of_another_year_or_account_is_accounted_for(what: str, tmp_path: Path) -> None:
    content, told, holdings, unhandled = VARIANTS[what]
    (tmp_path / "f.csv").write_text(content, encoding="utf-8")

    found = import_positions(tmp_path / "f.csv")

    assert f"{found.format} {found.account}" == told
    rows = [f"{one.instrument} {one.quantity.normalize():f} {one.price.normalize():f} {one.currency}"
            for one in found.holdings]  # fmt: skip
    assert rows == holdings
    said = [f"{one.label}: {one.unhandled} {'' if one.amount is None else one.amount}".strip()
            for one in found.not_handled]  # fmt: skip
    assert [text.startswith(wanted) for text, wanted in zip(said, unhandled, strict=True)] == [True] * len(unhandled), (
        said
    )
    assert found.rows + sum(found.outside.values()) == found.counted_again


def test_columns_of_another_broker_are_not_taken_for_schwabs_or_for_dollars(tmp_path: Path) -> None:
    text = "Symbol,Description,Quantity,Price,Market Value,Security Type\nRY,ROYAL BANK,2,150,300,Equity\n"
    (tmp_path / "f.csv").write_text(text, encoding="utf-8")

    with pytest.raises(BadInput, match="states no currency"):
        import_positions(tmp_path / "f.csv")
    found = import_positions(tmp_path / "f.csv", currency="CAD")

    assert (found.format, found.holdings[0].currency) == ("generic", "CAD")


@pytest.mark.parametrize(("left", "told"), [("Cash Report", "cash"), ("Open Positions", "positions")])
def test_a_statement_without_one_of_its_sections_says_so(left: str, told: str, tmp_path: Path) -> None:
    lines = (SAMPLES / "activity.csv").read_text(encoding="utf-8-sig").splitlines(keepends=True)
    (tmp_path / "f.csv").write_text("".join(line for line in lines if not line.startswith(left)), encoding="utf-8")

    assert f"no section {left}: no {told} could be read" in import_positions(tmp_path / "f.csv").notes


def test_two_statements_of_one_account_are_not_added_up(tmp_path: Path) -> None:
    row = "Open Positions,Data,Summary,Stocks,USD,VOO,2,1,100,200,110,220,20,10,\n"
    (tmp_path / "f.csv").write_text(IBKR + row + IBKR + row, encoding="utf-8")
    (tmp_path / "f.xml").write_text(FLEX.format(2 * '<OpenPosition symbol="A" currency="USD" position="1"/>'), "utf-8")

    for name in ("f.csv", "f.xml"):
        with pytest.raises(BadInput, match="is there twice, first in row"):
            import_positions(tmp_path / name)
