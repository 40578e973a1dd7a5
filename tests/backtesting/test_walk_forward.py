"""Mandates walked forward: accounts that close, closed forms, nothing known before its day, names that come and go."""

from __future__ import annotations

import datetime as dt
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pandas as pd
import pytest
from click.testing import Result

import allocator
from allocator.__main__ import main
from allocator.backtesting.standard_portfolios import PEERS
from allocator.backtesting.walk_forward import FOOT, Backtest, PolicyResult, _Account, backtest
from allocator.book.book import Book
from allocator.display.backtest import show_backtest
from allocator.errors import AllocatorError, BadInput, Infeasible, NotSolved
from tests.books import CASH, NAMES, book
from tests.command_line import runner
from tests.integrations.conftest import peer

DAYS = pd.date_range(end="2026-11-20", periods=120, freq="W-FRI")
PRICES = {"source": "prices", "window_rows": 30, "periods_per_year": 52.0}
FREE: dict[str, Any] = {"costs": {}, "lots": {"gap_bps": 1.0}}


def closes(seed: int = 5, days: pd.DatetimeIndex = DAYS) -> pd.DataFrame:
    draw = np.random.default_rng(seed)
    moves = draw.normal(0.001, 0.02, (len(days), 1)) + draw.normal(0, 0.025, (len(days), len(NAMES)))
    frame = pd.DataFrame((100 * np.exp(np.cumsum(moves, axis=0))).round(2), columns=list(NAMES))
    frame.insert(0, "date", days)
    return frame


def account(frame: pd.DataFrame | None = None, *, lot: float = 1.0, settings: Any = None, **risk: Any) -> Book:
    """Four names at 100 each and two views of them; prices are given apart."""
    volatile = {"market_volatility": 0.15}
    made = book(
        {
            "risk": {
                "source": "exposures",
                **({} if "source" in risk and "late_listings" not in risk else volatile),
                **risk,
            },
            "costs": {"commission_bps": 5.0, "spread_bps": 10.0},
            "mandate": {"risk_aversion": 3.0, "max_weight": 0.5},
            "robust": {"set": "total_variation", "radius": 0.1},
            **(settings or {}),
        },
        returns={"up": [0.12, 0.08, 0.15, 0.05], "down": [-0.08, 0.01, -0.1, 0.03]},
        probabilities={"up": 0.6, "down": 0.4},
        quantity=2400.0,
        cash=40_000.0,
        **({} if frame is None else {"prices": frame}),
    )
    return replace(made, lot_sizes=np.full(len(NAMES), lot))


def run(arguments: list[str]) -> Result:
    return runner().invoke(main, arguments)


def of(found: Backtest, policy: str) -> PolicyResult:
    return next(one for one in found.policies if one.policy == policy)


def refusal(**given: Any) -> list[str]:
    with pytest.raises(BadInput) as refused:
        backtest(given.pop("book", None) or account(), **given)
    return [str(breach) for breach in refused.value.breaches]


@pytest.fixture(scope="module")
def found() -> Backtest:
    return backtest(account(**{"late_listings": "beta", **PRICES}, frame=level(closes())), prices=closes(), every=9)


def level(frame: pd.DataFrame) -> pd.DataFrame:
    """The same history at the prices that the books of these tests state today."""
    names = [*NAMES]
    return frame.assign(**{name: 100 * frame[name] / frame[name].iloc[-1] for name in names})


def test_every_account_closes_to_the_cent_in_what_it_says(found: Backtest) -> None:
    last = closes().set_index("date")[[*NAMES]].iloc[-1]
    for one in found.policies:
        held = sum(units * last[name] for name, units in one.held.items() if name != CASH) + one.held[CASH]
        assert held == pytest.approx(float(one.values[-1]), abs=0.005)
        assert one.start + one.gains - one.costs == pytest.approx(held, abs=0.005)
        assert one.costs == pytest.approx(sum(event.costs for event in one.events), abs=0.005)
    document = found.document()
    for row in document["policies"]:
        assert row["start"] + row["gains"] - row["costs"] == pytest.approx(row["end"], abs=0.02)


def test_an_account_that_does_not_close_says_nothing_at_all() -> None:
    one = _Account("plan", np.array([10.0]), 100.0, 1100.0)
    one.mark(DAYS[1], np.array([100.0]), np.array([101.0]))
    one.cash += 0.01
    with pytest.raises(NotSolved, match=f"account of 'plan' does not close on {DAYS[2]:%Y-%m-%d}: "):
        one.mark(DAYS[2], np.array([101.0]), np.array([101.0]))


def test_buy_and_hold_is_the_first_units_at_every_price(found: Backtest) -> None:
    rows = closes().set_index("date").loc[found.days, [*NAMES]].to_numpy()
    worth = account().value
    units = np.floor(worth * 240_000 / 1_000_000 / rows[0])
    values = rows @ units + worth - rows[0] @ units
    assert of(found, "buy and hold").values == pytest.approx(values, abs=1e-6)
    assert of(found, "buy and hold").costs == 0


def test_equal_weights_in_small_lots_without_costs_earn_the_mean_of_returns() -> None:
    free = backtest(account(lot=1e-6, settings=FREE), prices=closes(), every=1, start=DAYS[110].date())
    rows = closes().set_index("date").loc[free.days, [*NAMES]].to_numpy()
    grown = np.cumprod(1 + (rows[1:] / rows[:-1] - 1).mean(axis=1))
    assert of(free, "1/N").values[1:] / account().value == pytest.approx(grown, rel=1e-7)


def test_trades_cost_what_the_book_says_they_cost(found: Backtest) -> None:
    for event in (event for one in found.policies for event in one.events):
        assert event.costs == pytest.approx(0.001 * (event.bought + event.sold), abs=1e-6)
    ticketed = backtest(account(settings={"costs": {"ticket": 7.0}}), prices=closes(), every=40)
    for event in of(ticketed, "1/N").events:
        assert event.costs == pytest.approx(7.0 * event.orders, abs=1e-9)
    assert all(value["cash"] >= 0 for one in ticketed.policies[1:] for value in [{"cash": one.held[CASH]}])


def test_a_review_is_the_plan_of_the_book_as_it_was_known_then(found: Backtest) -> None:
    stated = account(frame=level(closes()), late_listings="beta", **PRICES)
    first = found.days[0]
    past = closes().loc[lambda rows: rows["date"] <= first]
    rows = past[[*NAMES]].iloc[-1].to_numpy()
    units = np.floor(stated.value * 240_000 / 1_000_000 / rows)
    holdings = {**dict(zip(NAMES, units, strict=True)), CASH: stated.value - rows @ units}
    then = stated.at(first.date(), prices=past, holdings=holdings)
    plan = allocator.rebalance(then)
    (event,) = [event for event in of(found, "plan").events if event.date == f"{first:%Y-%m-%d}"]
    bought = sum(order.value for order in plan.orders if order.side == "buy")
    assert event.event == plan.decision.verdict
    assert event.bought == pytest.approx(bought, rel=1e-3)


def test_a_spike_that_is_planted_ahead_changes_nothing_before_it(found: Backtest) -> None:
    planted = closes()
    at = 90
    planted.loc[at:, "BBB"] = (planted.loc[at:, "BBB"] * 1.38).round(2)
    planted.loc[at + 5 :, "CCC"] = (planted.loc[at + 5 :, "CCC"] * 0.65).round(2)
    other = backtest(account(frame=level(closes()), late_listings="beta", **PRICES), prices=planted, every=9)
    before = found.days < DAYS[at]
    assert before.sum() > 50
    for one, two in zip(found.policies, other.policies, strict=True):
        assert np.array_equal(one.values[before], two.values[before])
        told = [[event for event in each.events if event.date < f"{DAYS[at]:%Y-%m-%d}"] for each in (one, two)]
        assert told[0] == told[1]
    assert of(found, "plan").values[-1] != of(other, "plan").values[-1]


def test_prices_that_end_before_a_day_make_the_same_account_until_then(found: Backtest) -> None:
    short = closes().iloc[:100]
    other = backtest(account(frame=level(closes()), late_listings="beta", **PRICES), prices=short, every=9)
    rows = len(other.days)
    assert rows == 100 - 30
    for one, two in zip(found.policies, other.policies, strict=True):
        assert np.array_equal(one.values[:rows], two.values)


def test_a_name_is_not_held_before_it_has_a_price_and_costs_nothing() -> None:
    late = closes()
    late.loc[late["date"] < DAYS[70], "CCC"] = np.nan
    walked = backtest(account(), prices=late, every=10, start=DAYS[40].date())
    rows = late.set_index("date").loc[walked.days, [*NAMES]]
    first = rows.iloc[0].drop("CCC")
    units = np.floor(account().value * 0.24 / first)
    assert of(walked, "buy and hold").held["AAA"] == units["AAA"]
    assert "CCC" not in of(walked, "buy and hold").held
    assert "CCC" in of(walked, "1/N").held
    assert f"CCC can be held from {DAYS[70]:%Y-%m-%d} on" in walked.notes
    before = backtest(account(), prices=late, every=20, start=DAYS[40].date(), end=DAYS[69].date())
    assert "CCC" not in of(before, "1/N").held
    waits = backtest(account(frame=level(closes()), **PRICES), prices=late, every=30)
    assert f"CCC can be held from {DAYS[100]:%Y-%m-%d} on" in waits.notes  # after a whole window of risk


def test_no_policy_trades_a_name_before_the_day_that_it_can_be_traded_from() -> None:
    stated = account()
    days = [pd.NaT, pd.NaT, pd.Timestamp("2027-01-01"), pd.NaT]
    private = replace(stated, exposures=stated.exposures.assign(tradable_from=days))
    walked = backtest(private, prices=closes(), every=40)
    held = {one.policy: one.held["CCC"] for one in walked.policies}
    assert len({*held.values()}) == 1


@pytest.mark.parametrize("source", ["prices", "exposures"])
def test_a_name_that_ends_is_sold_at_its_last_price_and_it_is_said(source: str) -> None:
    ends = closes()
    ends.loc[ends["date"] > DAYS[80], "DDD"] = np.nan
    stated = account(frame=level(closes()), **PRICES) if source == "prices" else account()
    walked = backtest(stated, prices=ends, every=12, start=DAYS[40].date())
    day = DAYS[81] if source == "prices" else DAYS[85]  # where gaps are allowed, after risk.max_age_days
    last = float(ends["DDD"].dropna().iloc[-1])
    for policy in ("buy and hold", "1/N"):
        (event,) = [one for one in of(walked, policy).events if one.event == "ended"]
        assert (event.instrument, event.date) == ("DDD", f"{day:%Y-%m-%d}")
        assert event.sold / last == pytest.approx(round(event.sold / last), abs=1e-9)
        assert event.costs == pytest.approx(0.001 * event.sold, rel=1e-9)
        assert "DDD" not in of(walked, policy).held
    held = of(walked, "buy and hold")
    assert held.held[CASH] > 40_000 + 0.9 * 2400 * last * 0.5
    told = f"DDD has no price after {DAYS[80]:%Y-%m-%d}: who held it sold it on {day:%Y-%m-%d} at its last, at a cost"
    assert told in walked.notes


def test_a_plan_that_is_not_worth_it_does_not_trade_unless_it_always_must() -> None:
    stated = account(settings={"trading": {"min_gain_bps": 5000.0}, "mandate": {"risk_aversion": 3.0}})
    worth = backtest(stated, prices=closes(), every=20)
    always = backtest(stated, prices=closes(), every=20, when="always")
    assert {event.event for event in of(worth, "plan").events} == {"no trade"}
    assert of(worth, "plan").costs == 0
    assert np.array_equal(of(worth, "plan").values, of(worth, "buy and hold").values)
    assert of(always, "plan").costs > 0


@pytest.mark.parametrize(("every", "count"), [("month", 28), ("week", 120), (7, 18)])
def test_reviews_are_the_first_row_of_each_month_or_week_or_so_many_rows(every: str | int, count: int) -> None:
    from allocator.backtesting.walk_forward import _review_rows

    assert len([*_review_rows(DAYS, range(120), every)]) == count


def test_signals_are_replayed_as_dated_and_a_later_one_is_not_known(root: Path) -> None:
    now = allocator.load(root / "data" / "note", overrides=["horizon.months=12"])
    days = pd.bdate_range("2026-06-01", "2026-11-20", freq="W-FRI")
    draw = np.random.default_rng(8)
    walked = 100 * np.exp(np.cumsum(draw.normal(0, 0.02, (len(days), len(now.instruments))), axis=0))
    prices = pd.DataFrame(walked.round(2), days, now.instruments).rename_axis("date").reset_index()
    both = [
        backtest(one, prices=prices, every=10, end=dt.date(2026, 10, 16)) for one in (now, without_last_signal(now))
    ]
    assert len(both[0].reviews) == 2
    assert both[0].policies[0].events == both[1].policies[0].events


def without_last_signal(stated: Book) -> Book:
    assert stated.signals is not None
    assert stated.signals["date"].iloc[-1] == pd.Timestamp("2026-10-30")
    return replace(stated, signals=stated.signals.iloc[:-1])


def test_what_cannot_be_walked_is_refused_with_the_cure(root: Path) -> None:
    assert refusal() == [
        "prices: this book has no price history; add prices.csv to the book, or name a file with --prices"
    ]
    hole = closes()
    hole.loc[50, "AAA"] = np.nan
    (told,) = refusal(book=account(frame=level(closes()), **PRICES), prices=hole)
    assert told.startswith("prices AAA: is blank on ")
    assert told.endswith('set risk.blanks = "drop_rows"')
    (told,) = refusal(prices=closes(), every="fortnight")
    assert "write month, week or a number of rows" in told
    told = refusal(prices=closes(), outlook="tody", when="never", peers=["skfolo"])
    assert told[0] == "--peer: is not known (got 'skfolo'); did you mean 'skfolio'?"
    assert [line.split(":")[0] for line in told] == ["--peer", "--when", "--outlook"]
    (told,) = refusal(prices=closes().drop(columns="DDD"))
    assert told == "prices DDD: has no column here; add it"
    (told,) = refusal(prices=closes().tail(2))
    assert told == "prices: needs 3 rows or more to walk through, and has 2; add rows"
    (told,) = refusal(book=allocator.load(root / "data" / "listed"), prices=of_listed(root))
    assert "market.date is 2026-11-20: give prices from then on, or --outlook today" in told
    viewed = allocator.load(root / "data" / "note", overrides=["believe.generalizable=0.7"])
    prices = of_listed(root, viewed)
    (told,) = refusal(book=viewed, prices=prices)
    assert "believe: is of 2026-11-20, and nobody knew it on 2026-0" in told


def test_arguments_of_python_are_taken_as_they_are_meant_or_refused() -> None:
    told = refusal(prices=closes(), every=True, start="2026-01-99", end=pd.NaT)
    assert [line.split(":")[0] for line in told] == ["--every", "--start", "--end"]
    (told_of_peers,) = refusal(prices=closes(), peers="skfolo")
    assert told_of_peers == "--peer: is not known (got 'skfolo'); did you mean 'skfolio'?"
    assert refusal(prices=[1, 2])[0].startswith("prices")
    noon = dt.datetime.combine(DAYS[100], dt.time(12))
    found = backtest(account(), prices=closes(), every=np.int64(40), start=noon)
    assert found.every == "40"
    assert found.days[0] == DAYS[100]


def test_the_cure_of_no_rows_is_about_what_the_first_row_waits_for(root: Path) -> None:
    (told,) = refusal(prices=closes(), start=dt.date(2027, 1, 1))
    assert "leaves no rows to walk through" in told
    assert told.endswith("; begin earlier, or give more prices with --prices")
    for start in (None, DAYS[0].date()):
        (told,) = refusal(prices=closes(), start=start, end=dt.date(2020, 1, 1))
        assert told.endswith(f"; let it end on {DAYS[1]:%Y-%m-%d} or later")
    (told,) = refusal(prices=closes().assign(**dict.fromkeys(NAMES, np.nan)))
    assert told.endswith("; give prices of more rows: no name can be held on two of them")
    priced = account(frame=level(closes()), **PRICES)
    for start in (None, DAYS[0].date()):
        (told,) = refusal(book=priced, prices=closes().tail(31), start=start)
        assert told.endswith("; give more than 30 rows before the first with --prices, or shorten risk.window_rows")
    listed = allocator.load(root / "data" / "listed")  # an earlier start is no cure of what the book does not know yet
    (told,) = refusal(book=listed, prices=of_listed(root), start=dt.date(2026, 9, 1))
    assert "market.date is 2026-11-20: give prices from then on, or --outlook today" in told


@pytest.mark.parametrize(("when", "policy"), [("always", "plan"), ("recommended", "1/N")])
def test_tickets_that_cash_cannot_pay_are_refused_and_nobody_sells_short(when: str, policy: str) -> None:
    stated = account(settings={"costs": {"ticket": 400_000.0}})
    (told,) = refusal(book=stated, prices=closes(), every=40, when=when)
    assert told.startswith("book.toml costs.ticket: leaves cash of -")
    assert f"tickets of '{policy}' at the review of {DAYS[0]:%Y-%m-%d}" in told


def of_listed(root: Path, stated: Book | None = None) -> pd.DataFrame:
    names = (stated or allocator.load(root / "data" / "listed")).instruments
    days = pd.date_range("2026-05-01", "2026-11-20", freq="W-FRI")
    walk = np.cumsum(np.random.default_rng(4).normal(0, 0.02, (len(days), len(names))), axis=0)
    return pd.DataFrame(100 * np.exp(walk), days, names).rename_axis("date").reset_index()


def test_doubtful_prices_are_refused_once_before_anything_is_walked() -> None:
    split = closes()
    split.loc[60:, "AAA"] /= 10
    (told,) = refusal(prices=split)
    assert "a 10:1 split" in told
    assert "confirm it" in told


def test_the_entry_that_a_doubt_asks_for_confirms_it_in_a_file_of_prices(root: Path, tmp_path: Path) -> None:
    shutil.copytree(root / "data" / "listed", tmp_path / "listed")
    split = of_listed(root)
    split.loc[split.index[-1], "MSFT"] /= 10
    with pytest.raises(BadInput) as refused:
        backtest(allocator.load(tmp_path / "listed"), prices=split, outlook="today", every=1000)
    (breach,) = refused.value.breaches
    assert breach.confirm is not None
    with (tmp_path / "listed" / "book.toml").open("a", encoding="utf-8") as file:
        file.write("\n" + breach.confirm.replace('why = ""', 'why = "as it was"') + "\n")
    confirmed = backtest(allocator.load(tmp_path / "listed"), prices=split, outlook="today", every=1000)
    assert len(confirmed.days) == len(split)


def test_limits_that_conflict_at_a_review_name_its_day() -> None:
    stated = account(settings={"mandate": {"max_weight": 0.5, "weights": {"CCC": {"min": 0.05}}}})
    late = closes()
    late.loc[late["date"] < DAYS[70], "CCC"] = np.nan
    with pytest.raises(Infeasible, match=f"at the review of {DAYS[40]:%Y-%m-%d}: "):
        backtest(stated, prices=late, start=DAYS[40].date())


def test_a_later_review_in_conflict_trades_nothing_and_is_counted_and_told() -> None:
    stated = account(settings={"mandate": {"weights": {"CCC": {"min": 0.05}}}, "costs": {"ticket": 3.0}})
    ending = closes()
    ending.loc[ending["date"] >= DAYS[90], "CCC"] = np.nan
    walked = backtest(stated, prices=ending, every=20)
    reviews = [one for one in of(walked, "plan").events if one.event != "ended"]
    late = [one for one in reviews if one.date >= f"{DAYS[90]:%Y-%m-%d}"]

    assert late
    assert {(one.event, one.orders, one.costs) for one in late} == {("no plan", 0, 0.0)}
    assert "no plan" not in {one.event for one in reviews[: -len(late)]}
    assert all(one.event == "rebalanced" for one in of(walked, "1/N").events[-len(late) :])
    (told,) = [note for note in walked.notes if "had no plan" in note]
    assert told.startswith(f"{len(late)} of {len(reviews)} reviews had no plan, ")
    assert f"the first, {late[0].date}: infeasible" in told
    (ended,) = [one for one in of(walked, "plan").events if one.event == "ended"]
    assert ended.costs == pytest.approx(3.0)  # its ticket; this book trades at no other cost


@pytest.mark.parametrize("package", PEERS)
def test_standard_portfolios_of_peers_are_theirs_on_the_same_prices_and_costs(package: str) -> None:
    peer(package)
    walked = backtest(account(lot=1e-4), prices=closes(), every=60, peers=[package])
    assert [one.policy for one in walked.policies[3:]] == [*PEERS[package]]
    first = closes().set_index("date").loc[: walked.days[0], [*NAMES]].tail(53)
    for policy, weights in PEERS[package].items():
        one = of(walked, policy)
        wanted = weights(first.pct_change().iloc[1:])
        held = dict(one.held)
        assert one.start + one.gains - one.costs == pytest.approx(float(one.values[-1]), abs=0.005)
        short = backtest(account(lot=1e-4), prices=closes(), every=60, peers=[package], end=walked.days[1].date())
        units = np.array([of(short, policy).held.get(name, 0.0) for name in NAMES])
        money = units * first.iloc[-1].to_numpy()
        assert money / money.sum() == pytest.approx(wanted, abs=2e-4), policy
        assert held[CASH] >= 0


def test_a_peer_that_is_not_installed_is_refused_with_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert refusal(prices=closes(), peers=["skfolio"]) == [
        "--peer: is not installed (got 'skfolio'); pip install 'portfolio-allocator[integrations]'"
    ]


@pytest.fixture(scope="module")
def folder(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("closes") / "closes.csv"
    of_listed(root).to_csv(place, index=False)
    return place


def test_the_screen_fits_and_says_what_it_is_no_proof_of(root: Path, folder: Path) -> None:
    asked = ["backtest", str(root / "data" / "listed"), "--prices", str(folder), "--outlook", "today", "--every", "9"]
    shown = run(asked)
    lines = shown.stdout.splitlines()
    assert shown.exit_code == 0, shown.output
    assert len(lines) <= 45
    assert max(map(len, lines)) <= 80
    assert " ".join(shown.stdout.split()).endswith(FOOT)
    assert "Today's outlook on every row: what it says was not known then." in shown.stdout


def test_an_outlook_without_a_date_is_said_to_be_hindsight(root: Path, found: Backtest) -> None:
    told = "probabilities here have no date: today's are believed on every row, which is hindsight"
    assert told in found.notes
    note = allocator.load(root / "data" / "note")
    assert told not in backtest(note, prices=of_listed(root, note), every=1000).notes


def test_a_second_table_of_policies_begins_after_a_blank_line(
    found: Backtest, capsys: pytest.CaptureFixture[str]
) -> None:
    show_backtest(replace(found, policies=found.policies * 2))
    lines = capsys.readouterr().out.splitlines()
    headed = [at for at, line in enumerate(lines) if "buy and hold" in line]
    assert len(headed) == 2
    assert not lines[headed[1] - 1].strip()


def test_the_document_is_of_its_schema(found: Backtest, root: Path) -> None:
    document = json.loads(json.dumps(found.document()))
    jsonschema.validate(document, json.loads((root / "schemas" / "backtest.schema.json").read_text(encoding="utf-8")))
    assert set(document["values"]) == {"plan", "buy and hold", "1/N"}
    assert len(document["values"]["plan"]) == len(document["dates"]) == document["rows"]


def test_refusals_have_the_exit_code_of_their_class(root: Path) -> None:
    none = run(["backtest", str(root / "data" / "note"), "--json"])
    assert (none.exit_code, json.loads(none.stdout)["error"]) == (3, "BadInput")
    assert run(["backtest", str(root / "data" / "note"), "--every", "0"]).exit_code == 2
    assert issubclass(NotSolved, AllocatorError)


def test_prices_of_one_day_more_are_a_longer_walk_of_the_same(found: Backtest) -> None:
    assert found.frame().shape == (len(found.days), 3)
    assert found.days[-1] == DAYS[-1]


def test_the_document_is_drawn_and_tabulated(found: Backtest) -> None:
    from allocator.reporting.pictures import picture
    from allocator.reporting.tables import backtest_tables

    document = found.document()
    drawn = picture(document)
    assert [title for title, _ in drawn.charts] == [
        "What each account has gained, after costs", "How far it is below its highest value so far",
    ]  # fmt: skip
    lines = json.dumps(drawn.charts[0][1])
    assert all(json.dumps(one.policy) in lines for one in found.policies)
    tables = backtest_tables(document)
    assert [len(tables[name].rows) for name in ("policies", "accounts", "events")] == [
        3, len(found.days), sum(len(one.events) for one in found.policies),
    ]  # fmt: skip
    (ends,) = [tables["accounts"].rows[-1]]
    assert ends[1:] == tuple(round(float(one.values[-1]), 2) for one in found.policies)
