"""Digestion of news, and expected return in its three parts (science §2.5.3): printed numbers, limits, other routes."""

from __future__ import annotations

import datetime as dt
import math
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from allocator.book.book import Book
from allocator.book.loading import load
from allocator.errors import BadInput
from allocator.outlook.calibration import (
    MarketPath,
    announcement_share,
    build_question,
    calibrate,
    dated_signals,
    digestion_months,
    market_anchor,
    required_growth,
    typed_values,
)
from allocator.outlook.implied_probabilities import infer_probabilities
from allocator.outlook.outlook import PARTS, attribute_returns, build_outlook
from allocator.outlook.posterior import bayes_update, log_evidence
from allocator.outlook.question import DAYS_A_MONTH
from allocator.outlook.scenario_tree import ReviewTree, build_review_tree, free_lunches
from allocator.types import Matrix, Vector
from tests.thoroughness import some

HERE, DATA = Path(__file__).parent, Path(__file__).parents[2] / "tests" / "plain_books"
TWO_LABS, APPROVAL = HERE / "two_labs", DATA / "approval"
REVIEWED = (
    "horizon.until=2027-11-20", "model.since=2026-04-08", "horizon.reviews=[2027-02-20, 2027-05-20, 2027-08-20]",
    "mandate.objective='log'",
)  # fmt: skip
UNDIGESTED = PARTS.index("undigested_news")


def copied(root: Path, place: Path, *rows: str) -> Path:
    """The book with other rows of signals, under the same heads; with all that it has where none are given."""
    place.mkdir()
    for file in root.iterdir():
        text = file.read_text(encoding="utf-8")
        if file.name == "signals.csv" and rows:
            text = text.splitlines()[0] + "\n" + "".join(f"{row}\n" for row in rows if row)
        (place / file.name).write_text(text, encoding="utf-8")
    return place


def half(months: float) -> str:
    return f"horizon.digestion_months={months}"


def expected(book: Book) -> Vector:
    outlook = build_outlook(book)
    result: Vector = outlook.probabilities @ outlook.returns
    return result


def in_percent(values: Vector) -> list[float]:
    return (100 * values).round(2).tolist()


# What science printed


def test_expected_returns_and_their_undigested_part_are_as_printed() -> None:
    book = load(TWO_LABS)
    assert in_percent(expected(book)) == [9.67, 10.13, 20.78, 20.54, 17.33, 20.26, 13.04, 11.42, 18.53, 9.96]
    undigested = build_outlook(book).expected_parts()[UNDIGESTED, :-1]
    assert in_percent(undigested) == [0.37, 0.25, -1.27, -1.24, 0.58, 0.95, 1.26, 0.81, 1.36, -0.12]

    never = load(TWO_LABS, overrides=[half(math.inf)])
    gpu = never.instruments.index("GPU")
    assert in_percent(expected(never))[gpu] == 20.14
    assert in_percent(build_outlook(never).expected_parts()[UNDIGESTED])[gpu] == 8.36


def test_in_silence_gpu_returns_less_every_month_as_tabled() -> None:
    book = replace(load(TWO_LABS, as_of=dt.date(2027, 11, 8)), signals=None)
    gpu, found = book.instruments.index("GPU"), []
    for month in range(1, 20):
        years, of_year = divmod(3 + month, 12)
        day = dt.date(2026 + years, of_year + 1, 8)
        settings = book.settings
        settings = settings.model_copy(update={"book": settings.book.model_copy(update={"as_of": day})})
        outlook = build_outlook(replace(book, settings=settings))
        parts = outlook.expected_parts()[:, gpu]
        found.append((outlook.probabilities @ outlook.returns[:, gpu], parts[UNDIGESTED]))
    returns, undigested = np.array(found).T
    assert in_percent(returns)[:10] == [15.34, 15.18, 14.86, 14.46, 14.05, 13.68, 13.33, 13.04, 12.77, 12.54]
    assert in_percent(undigested)[:10] == [0.73, 1.05, 1.14, 1.12, 1.03, 0.93, 0.81, 0.70, 0.59, 0.50]
    assert (in_percent(returns)[-1], in_percent(undigested)[-1]) == (11.63, 0.10)
    assert (np.diff(returns) < 0).all()
    assert (undigested[9:] <= 0.005).all()


def test_of_one_old_signal_nothing_is_left_to_come(tmp_path: Path) -> None:
    """No hazard, so that silence says nothing, and 41.9 half-lives."""
    place = copied(TWO_LABS, tmp_path / "book", "date,kind,source,hypothesis,log10_bayes_factor", "")
    (place / "signals.csv").write_text(
        "date,kind,source,hypothesis,log10_bayes_factor\n2026-04-30,evidence,a court,generalizable,0.8\n"
    )
    rare = [f"question.labs.{lab}.hazard=1e-15" for lab in ("OpenAI", "Google")] + ["question.ranges.hazard=[1e-16, 1]"]

    def left(months: float) -> float:
        outlook = build_outlook(load(place, overrides=[*rare, half(months)]))
        return float(np.nanmax(np.abs(outlook.expected_parts()[UNDIGESTED])))

    assert left(0.16) <= 1e-12
    assert left(2.0) > 1e-4
    assert left(math.inf) > 0.01


# The definition: ln A(t) = ln m(t0) + Σ_u Δln m(u)·w(t − u), a day at a time


def weight(age_days: int, share: float, months: float) -> float:
    if months == 0:
        return share if age_days == 0 else 1.0
    return share + (1 - share) * (1 - 2 ** (-age_days / DAYS_A_MONTH / months))


def anchor_by_the_day(book: Book, values: Matrix) -> tuple[Vector, Vector]:
    """A and m(t), from evidence that is asked for one day at a time."""
    question, stated, until = build_question(book), book.settings.market, book.settings.book.as_of
    assert question is not None
    assert stated is not None
    then = np.array([stated.probabilities[name] for name in book.scenarios])
    signals, total = dated_signals(book), (until - stated.date).days
    start = log_evidence(question, signals, [stated.date])
    seen, log = then @ values, np.log(then @ values)
    for day in range(1, total + 1):
        moved = log_evidence(question, signals, [stated.date + dt.timedelta(days=day)]) - start
        after = bayes_update(then, moved)[0] @ values
        log = log + np.log(after / seen) * weight(total - day, announcement_share(book), digestion_months(book))
        seen = after
    return np.exp(log), seen


CASES = {
    "silence and figures": (TWO_LABS, (), ()),
    "a refuted claim": (TWO_LABS, ("2026-06-01,claim,OpenAI,,,", "2026-09-01,refutation,OpenAI,,,"), ()),
    "frailty": (TWO_LABS, ("2026-08-20,claim,Google,,,",), ("question.frailty=1.0",)),
    "a view of today": (TWO_LABS, (), ("believe.generalizable=0.6",)),
    "typed, three answers": (APPROVAL, (), ()),
    "typed, frail, viewed": (APPROVAL, (), ("question.frailty=0.5", "believe.approved=0.7")),
}


@cache
def case(name: str, place: Path, months: float, share: float) -> Book:
    root, rows, overrides = CASES[name]
    folder = copied(root, place / name.replace(" ", "-"), *rows) if rows else root
    return load(folder, overrides=[*overrides, half(months), f"horizon.announcement_share={share}"])


@pytest.mark.parametrize("months", [0.0, 0.7, math.inf])
@pytest.mark.parametrize("name", CASES)
def test_prices_hold_the_news_of_each_day_as_its_age_says(tmp_path: Path, name: str, months: float) -> None:
    book = case(name, tmp_path, months, 0.35)
    typed, model, outlook = typed_values(book), calibrate(book), build_outlook(book)
    values = model.values if typed is None and model is not None else typed
    assert values is not None
    anchor, seen = anchor_by_the_day(book, values)
    growth = required_growth(book)
    np.testing.assert_allclose(outlook.returns, growth * values / anchor - 1, rtol=0, atol=1e-12)

    ours = outlook.probabilities @ values
    by_hand = [growth - 1, growth * (ours / seen - 1), growth * ours * (1 / anchor - 1 / seen)]
    parts = outlook.expected_parts()[:, :-1]
    np.testing.assert_allclose(parts[:3], by_hand, rtol=0, atol=1e-12)
    assert np.isnan(parts[3]).all()
    np.testing.assert_allclose(parts[:3].sum(axis=0), outlook.probabilities @ outlook.returns, rtol=0, atol=1e-12)


def test_the_limits_are_no_digestion_at_once_and_all_in_the_news() -> None:
    """half = inf is A(0)·(m/A(0))^J; J = 1 is m(t); half = 0 leaves the day's own news only."""
    for name in ("silence and figures", "typed, three answers"):
        root = CASES[name][0]

        def anchor(months: float, share: float, root: Path = root) -> tuple[Vector, Vector, Vector]:
            book = load(root, overrides=[half(months), f"horizon.announcement_share={share}"])
            typed, model, stated = typed_values(book), calibrate(book), book.settings.market
            values = model.values if typed is None and model is not None else typed
            assert values is not None
            assert stated is not None
            then = np.array([stated.probabilities[name] for name in book.scenarios]) @ values
            held = required_growth(book) * values / (1 + build_outlook(book).returns)
            return held[0], then, anchor_by_the_day(book, values)[1]

        held, then, seen = anchor(math.inf, 0.6)
        np.testing.assert_allclose(held, then * (seen / then) ** 0.6, rtol=4e-16)
        held, _, seen = anchor(1.0, 1.0)
        np.testing.assert_allclose(held, seen, rtol=5e-16)
        held, _, seen = anchor(0.0, 0.0)
        np.testing.assert_allclose(held, seen, rtol=2e-3)  # but for today's silence
        assert np.abs(held / seen - 1).max() > 1e-9


def test_news_so_old_that_no_number_holds_it_is_left_out_and_changes_nothing() -> None:
    """Days beyond sixty half-lives are one step: against every day, which a half-life just long enough takes."""
    draw = np.random.default_rng(3)
    beliefs = draw.dirichlet(np.ones(4), 200)
    values, ages = draw.uniform(0.2, 2.0, (4, 6)), np.arange(198, -1, -1)
    every = MarketPath(beliefs, np.exp2(-ages / 2.0))
    few = MarketPath(beliefs[[0, *range(70, 200)]], np.exp2(-ages[69:] / 2.0))
    for one, other in zip(market_anchor(values, every, 0.4), market_anchor(values, few, 0.4), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-14)


# The tree: on every path what the book of that day says


@cache
def reviewed(months: float, share: float, *more: str) -> tuple[Book, ReviewTree]:
    book = load(TWO_LABS, overrides=[*REVIEWED, half(months), f"horizon.announcement_share={share}", *more])
    return book, build_review_tree(book, build_outlook(book))


@pytest.mark.parametrize("more", [(), ("question.frailty=1.0",)], ids=["independent", "frail"])
@pytest.mark.parametrize("months", [0.0, 1.0, math.inf])
def test_at_every_node_prices_are_those_of_the_book_of_that_day(
    tmp_path: Path, months: float, more: tuple[str, ...]
) -> None:
    """Silence, a claim by somebody and its verdict, as rows of signals.csv that a later run has read."""
    _, reviews = reviewed(months, 0.6, *more)
    rows = (TWO_LABS / "signals.csv").read_text(encoding="utf-8").splitlines()
    heads = "date,kind,source,price_fall,usage_growth,since"
    known = [",".join(row.split(",")[:5]) + "," for row in rows[1:]]
    assert rows[0].startswith(heads.removesuffix(",since"))
    for node in some(range(1, len(reviews.states)), 5):
        state = reviews.states[node]
        place = copied(TWO_LABS, tmp_path / str(node))
        told = [
            f"{one.date},{one.kind},{one.source},,,{one.since or ''}"
            for one in state.signals
            if one.date > dt.date(2026, 11, 20)
        ]
        (place / "signals.csv").write_text("\n".join([heads, *known, *told]) + "\n", encoding="utf-8")
        later = load(place, overrides=[*REVIEWED, half(months), *more], as_of=state.day)
        outlook, planned = build_outlook(later), reviews.outlooks[node]
        np.testing.assert_allclose(planned.returns, outlook.returns, rtol=0, atol=1e-12)
        np.testing.assert_allclose(planned.expected_parts(), outlook.expected_parts(), rtol=0, atol=1e-12)
        assert outlook.priced is not None
        assert np.abs(outlook.priced.undigested).max() > (1e-6 if months else 1e-9)


def test_on_the_silent_path_of_three_answers_prices_are_those_of_the_book_of_that_day(tmp_path: Path) -> None:
    """Typed returns stand for the same values on a later day: what the book of that day anchors is the node's."""
    row = "2026-08-14,evidence,advisory committee,approved,1,0.25,no open claim"
    place = copied(APPROVAL, tmp_path / "book", row)
    for months in (0.0, 1.0, math.inf):
        book = load(place, overrides=[half(months)])
        reviews = build_review_tree(book, build_outlook(book))
        silent = [node for node, state in enumerate(reviews.states) if state.kind == "silent"]
        assert len(silent) >= 2
        node = silent[0]
        later = load(place, overrides=[half(months)], as_of=reviews.states[node].day)
        moved = (1 + build_outlook(book).returns) / required_growth(book)  # V/A of today
        then = (1 + build_outlook(later).returns) / required_growth(later)  # V/A of that day
        grown = (1 + reviews.outlooks[node].returns) / required_growth(later)
        np.testing.assert_allclose(grown, then, rtol=0, atol=1e-12)
        assert np.abs(moved - then).max() > 1e-6


def test_growth_along_every_path_still_ends_at_the_scenarios_returns() -> None:
    book, reviews = reviewed(1.0, 0.6)
    tree = reviews.tree
    growth, _ = tree.since_now()
    ends = 1 + build_outlook(book).returns[tree.leaf_scenarios]
    np.testing.assert_allclose(growth[tree.leaf_parents] * tree.leaf_growth, ends, rtol=1e-14)


@pytest.mark.parametrize(("root", "more"), [(TWO_LABS, REVIEWED), (APPROVAL, ())])
def test_where_nothing_is_digested_the_tree_is_priced_as_ever(root: Path, more: tuple[str, ...]) -> None:
    book = load(root, overrides=[*more, half(math.inf)])
    outlook = build_outlook(book)
    reviews, path = build_review_tree(book, outlook), market_now(book)
    implied = bayes_update(path, reviews.evidence) @ (1 + outlook.returns)
    years = np.array([(state.day - book.settings.book.as_of).days for state in reviews.states]) / 365.25
    required = 1 + book.exposures["required_return"].to_numpy(dtype=float)
    by_hand = required ** years[:, None] * (implied / implied[0]) ** announcement_share(book)
    np.testing.assert_allclose(reviews.tree.since_now()[0], by_hand, rtol=1e-14)


def market_now(book: Book) -> Vector:
    question, stated = build_question(book), book.settings.market
    assert question is not None
    assert stated is not None
    then = np.array([stated.probabilities[name] for name in book.scenarios])
    evidence = log_evidence(question, dated_signals(book), [stated.date, book.settings.book.as_of])
    result: Vector = bayes_update(then, evidence[1:] - evidence[:1])[0]
    return result


def test_the_half_life_moves_what_is_to_come_into_the_step_after_the_news() -> None:
    """What docs/reviews.md says of OPENAI in the three months after a claim: a bet on J."""

    def told(place: Path, *more: str) -> list[float]:
        found = []
        for months, share in ((1.0, 0.6), (math.inf, 0.6), (1.0, 1.0)):
            book = load(place, overrides=[*more, half(months), f"horizon.announcement_share={share}"])
            tree = build_review_tree(book, build_outlook(book)).tree
            openai, children = book.instruments.index("OPENAI"), tree.children(tree.kinds.index("claimed"))[0]
            found.append(float(tree.probabilities[children] @ tree.growth[children, openai]) - 1)
        return found

    assert np.round(told(TWO_LABS, *REVIEWED), 2).tolist() == [0.32, 0.03, 0.05]
    assert np.round(told(HERE.parents[1] / "data" / "reviewed"), 3).tolist() == [0.037, 0.041, 0.041]
    page = " ".join((HERE.parents[1] / "docs" / "reviews.md").read_text(encoding="utf-8").split())
    assert "expects 32 % of OPENAI" in page
    assert "expects 3 % if nothing is digested and 5 % at J = 1" in page
    assert "the three are 3.7 %, 4.1 % and 4.1 %" in page


# Free lunches over cash


def beats_cash(ahead: Matrix) -> bool:
    """By the other side of the same question: no weights of the outcomes make every name's lead over cash 0 or less."""
    from scipy.optimize import linprog

    outcomes = len(ahead)
    found = linprog(
        np.zeros(outcomes), A_ub=ahead.T, b_ub=np.zeros(ahead.shape[1]), A_eq=np.ones((1, outcomes)), b_eq=[1]
    )
    return found.status == 2


@pytest.mark.parametrize("months", [1.0, math.inf])
@pytest.mark.parametrize("share", [0.2, 0.6, 1.0])
def test_free_lunches_are_counted_as_somebody_else_finds_them(months: float, share: float) -> None:
    tree = reviewed(months, share)[1].tree
    found = 0
    for node in range(tree.nodes):
        nodes, leaves = tree.children(node)
        parts = (
            tree.growth[nodes] - tree.cash_growth[nodes, None],
            tree.leaf_growth[leaves] - tree.leaf_cash_growth[leaves, None],
        )
        found += beats_cash(np.vstack(parts))
    assert free_lunches(tree) == found
    if share == 1:
        assert (found, tree.nodes) == (8, 11)  # as printed


# What is asked for, and what is refused


@pytest.mark.parametrize("given", ["-1", "-inf", "nan"])
def test_a_half_life_that_is_none_is_refused_with_the_cure(given: str) -> None:
    with pytest.raises(BadInput) as caught:
        load(TWO_LABS, overrides=[f"horizon.digestion_months={given}"])
    (breach,) = caught.value.breaches
    assert breach.column == "horizon.digestion_months"
    assert breach.rule == f"must be a half-life of 0 or more months, and is {float(given):g}"
    assert breach.cure.startswith("write 1 for a month, 0 for the next day, or inf")


@pytest.mark.parametrize("more", [(), REVIEWED], ids=["an old market date", "reviews"])
def test_both_keys_of_news_are_asked_for_together(tmp_path: Path, more: tuple[str, ...]) -> None:
    place = copied(TWO_LABS, tmp_path / "book")
    text = (place / "book.toml").read_text(encoding="utf-8")
    for gone in (("digestion_months",), ("digestion_months", "announcement_share")):
        kept = [line for line in text.splitlines() if not line.startswith(gone)]
        (place / "book.toml").write_text("\n".join(kept), encoding="utf-8")
        with pytest.raises(BadInput) as caught:
            load(place, overrides=more)
        assert sorted(breach.column or "" for breach in caught.value.breaches) == sorted(
            f"horizon.{name}" for name in gone
        )
        (said,) = [breach for breach in caught.value.breaches if breach.column == "horizon.digestion_months"]
        assert said.rule.startswith("is needed")
        assert "1 for a month, or inf for the old rule" in said.cure
    load(place, overrides=["market.date=2026-11-20"])  # today's prices hold all news: neither is needed


def test_where_the_market_speaks_of_today_nothing_is_undigested() -> None:
    outlook = build_outlook(load(TWO_LABS, overrides=["market.date=2026-11-20"]))
    parts = outlook.expected_parts()
    assert np.abs(parts[UNDIGESTED, :-1]).max() == 0
    np.testing.assert_allclose(parts[:3, :-1].sum(axis=0), outlook.probabilities @ outlook.returns, atol=1e-12)


# Where there is no market, or no anchor, parts are left out


def test_parts_that_do_not_exist_are_left_out_and_the_others_add_up(tmp_path: Path) -> None:
    place = copied(TWO_LABS, tmp_path / "book")
    names = "generalizable_jevons,generalizable_compression,proprietary_jevons,proprietary_compression"
    (place / "scenario_returns.csv").write_text(f"instrument,{names}\nMETA,0.3,-0.1,0.2,0.1\n", encoding="utf-8")
    rows = {row["instrument"]: row for row in attribute_returns(load(place)).document()["instruments"]}
    assert set(rows["META"]["parts"]) == {"required", "not_anchored"}
    assert set(rows["GPU"]["parts"]) == {"required", "disagreement", "undigested_news"}

    text = (place / "book.toml").read_text(encoding="utf-8")
    start, end = text.index("[market]"), text.index("[horizon]")
    (place / "book.toml").write_text(text[:start] + text[end:], encoding="utf-8")
    alone = attribute_returns(load(place)).document()["instruments"]
    assert {tuple(row["parts"]) for row in alone} == {("required", "not_anchored")}
    for row in (*rows.values(), *alone):
        assert sum(row["parts"].values()) == pytest.approx(row["expected"], abs=1e-12)


# What prices imply, where they digest


@pytest.mark.parametrize("months", [0.0, 1.0, 5.0])
@pytest.mark.parametrize("share", [0.0, 0.6])
def test_a_move_that_digestion_explains_is_no_news(share: float, months: float) -> None:
    book = load(TWO_LABS, overrides=[half(months), f"horizon.announcement_share={share}"])
    model, stated = calibrate(book), book.settings.market
    assert model is not None
    assert stated is not None
    assert model.market_then is not None
    years = (book.settings.book.as_of - stated.date).days / 365.25
    carried = (1 + model.loadings.required_return) ** years * model.anchor / (model.market_then @ model.values)
    found = infer_probabilities(book, dict(zip(book.instruments, (carried - 1).tolist(), strict=True)))
    np.testing.assert_allclose(found.probabilities, model.market_now, atol=1e-9)
    moved = infer_probabilities(book, {"GPU": float(carried[book.instruments.index("GPU")] * 0.97 - 1)})
    assert float(moved.probabilities @ model.values[:, book.instruments.index("GPU")]) < float(
        model.market_now @ model.values[:, book.instruments.index("GPU")]  # type: ignore[operator]
    )
    assert np.abs(moved.residuals).max() < 1e-9
