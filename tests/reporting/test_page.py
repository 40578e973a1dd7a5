"""The report in a browser: nothing leaves it, the slider shows what Python solved, phones, dark rooms and paper."""

from __future__ import annotations

import copy
import errno
import html
import json
import os
import random
import re
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator, FormatChecker

from allocator.__main__ import main
from allocator.book.loading import load
from allocator.plan.document import plan_document
from allocator.plan.rebalance import rebalance
from allocator.reporting.page import as_read, report, sections
from allocator.tables.schema import document_breaches, schemas_folder
from tests.command_line import runner

NASTY = "<script>document.title='hacked'</script>\"'&amp; 🧨 \u202eright to left\u202c " + "long" * 40


@pytest.fixture(scope="session")
def parts(documents: dict[str, Any]) -> dict[str, Any]:
    """What a page of the sample book is made of."""
    rows = [{"file": "exposures.csv", "of": "META", "source": "illustrative"}]
    names = {"plan": "rebalance", "beliefs": "beliefs", "returns": "returns", "stress": "stress"}
    return {name: documents[command] for name, command in names.items()} | {"sources": rows}


@pytest.fixture(scope="session")
def written(parts: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page as a file."""
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(report(parts), encoding="utf-8")
    return path


class Opened:
    """A page in the browser, and what it asked for and complained of."""

    def __init__(self, browser: Any, path: Path, *, width: int = 1200, scheme: str = "light") -> None:
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        self.page, self.requests, self.complaints = context.new_page(), list[str](), list[str]()
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("console", lambda said: self.complaints.append(said.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda dialog: self.complaints.append(dialog.message))
        self.page.goto(path.as_uri())


def test_the_page_asks_for_nothing_and_complains_of_nothing(browser: Any, written: Path) -> None:
    opened = Opened(browser, written)

    assert opened.requests == [written.as_uri()]
    assert opened.complaints == []
    text = written.read_text(encoding="utf-8")
    assert {*re.findall(r'(?:href|src)="([^"]*)"', text)} == {
        f"#{one}" for one in re.findall(r'<section id="([a-z]+)"', text)
    }
    assert "@import" not in text
    assert "url(" not in text.replace("url(#", "")


def test_the_slider_shows_at_every_belief_what_python_solved(
    browser: Any, written: Path, documents: dict[str, Any]
) -> None:
    page = Opened(browser, written).page
    axis = documents["stress"]["beliefs"]["axes"][0]
    points = axis["points"]
    own = min(range(len(points)), key=lambda at: abs(points[at]["probability"] - axis["stated"]))

    assert len(points) >= 41
    assert page.evaluate("document.getElementById('belief').valueAsNumber") == own
    assert "the book's own" in page.inner_text("#slider-at")
    read = """at => { const slider = document.getElementById('belief'); slider.value = at;
      slider.dispatchEvent(new Event('input'));
      return [document.getElementById('slider-at').textContent, [...document.querySelectorAll('.bar')].map(
        row => [row.children[0].textContent, row.children[2].textContent])]; }"""
    for at, point in enumerate(points):
        told, bars = page.evaluate(read, at)
        assert told.startswith(as_read(point["probability"], "fraction"))
        assert dict(bars) == {
            name: f"{as_read(weight, 'fraction')} ({as_read(points[own]['weights'][name], 'fraction')})"
            for name, weight in point["weights"].items()
        }


@pytest.mark.parametrize(("width", "scheme"), [(1200, "light"), (390, "dark")])
def test_no_screen_is_wider_than_itself_and_nothing_serious_bars_anybody(
    browser: Any, written: Path, width: int, scheme: str
) -> None:
    import axe_playwright_python

    page = Opened(browser, written, width=width, scheme=scheme).page
    page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")

    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.evaluate((Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text(encoding="utf-8"))
    found = page.evaluate("axe.run({resultTypes: ['violations']})")
    serious = [one for one in found["violations"] if one["impact"] in ("serious", "critical")]
    assert [(one["id"], one["nodes"][0]["html"]) for one in serious] == []


def test_paper_cuts_no_table_and_shows_what_is_folded(browser: Any, written: Path) -> None:
    page = Opened(browser, written, width=794).page  # A4 at 96 dots an inch
    page.emulate_media(media="print")
    cut = page.evaluate(
        "[...document.querySelectorAll('table')].filter(one => one.getBoundingClientRect().right > innerWidth + 1)"
        ".map(one => one.closest('section').id + ': ' + one.innerText.slice(0, 60))"
    )
    hidden = page.evaluate(
        "[...document.querySelectorAll('details table')].filter(one => !one.checkVisibility({contentVisibilityAuto: "
        "true, visibilityProperty: true}) || one.getBoundingClientRect().height === 0).length"
    )

    broken = page.evaluate(
        "[...document.querySelectorAll('td.n')].filter(one => { const text = document.createRange(); "
        "text.selectNodeContents(one); return text.getClientRects().length > 1; }).map(one => one.innerText)"
    )

    assert cut == []
    assert hidden == 0
    assert broken == []
    assert page.evaluate("getComputedStyle(document.querySelector('.bar i')).printColorAdjust") == "exact"


def test_names_that_are_code_are_shown_as_text(browser: Any, parts: dict[str, Any], tmp_path: Path) -> None:
    name = parts["plan"]["orders"][0]["instrument"]
    spoiled = json.loads(json.dumps(parts).replace(json.dumps(name), json.dumps(NASTY)))
    spoiled["plan"]["book"]["name"] = NASTY
    path = tmp_path / "nasty.html"
    path.write_text(report(spoiled), encoding="utf-8")
    opened = Opened(browser, path, width=390)

    assert opened.complaints == []
    assert "\u202e" not in path.read_text(encoding="utf-8")  # written out: it would turn round what follows it
    assert opened.page.inner_text("h1").startswith("<script>document.title='hacked'</script>")
    assert not opened.page.title().startswith("hacked")
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= 390


def test_a_plan_alone_makes_the_parts_that_it_holds(parts: dict[str, Any]) -> None:
    alone = [section.id for section in sections({"plan": parts["plan"]})]
    whole = [section.id for section in sections(parts)]  # type: ignore[arg-type]  # a plain dict in a test

    assert {"beliefs", "slider", "stress", "returns", "inputs"}.isdisjoint(alone)
    assert {*alone} < {*whole}
    assert [name for name in whole if name in alone] == alone


def test_a_plan_that_trades_nothing_says_so(parts: dict[str, Any]) -> None:
    idle = copy.deepcopy(parts["plan"])
    idle["orders"], idle["decision"] = [], idle["decision"] | {"verdict": "no trade"}

    assert "Nothing is to be traded." in report({"plan": idle})
    assert "No trade: 0 orders." in report({"plan": idle})


def test_targets_without_whole_lots_are_not_said_to_trade_nothing(parts: dict[str, Any]) -> None:
    idle = copy.deepcopy(parts["plan"])
    idle["orders"], idle["decision"] = [], idle["decision"] | {"verdict": "targets only", "gain_bps": None}
    text = report({"plan": idle})

    assert text.count("Targets only: no whole-lot orders were asked for.") == 2
    assert "Nothing is to be traded." not in text
    assert "against no trade" not in text


def test_the_first_screen_answers_what_why_what_if_and_when(browser: Any, written: Path) -> None:
    page = Opened(browser, written).page
    answers = dict(page.evaluate("[...document.querySelectorAll('.answers div')].map(one => [...one.children].map("
                                 "part => part.innerText))"))  # fmt: skip

    assert [*answers] == ["What is traded", "Why", "If the belief is wrong", "Look again"]
    assert re.match(r"Sell [\d,]+ USD: .*; buy [\d,]+ USD: .*; costs [\d,]+ USD\.", answers["What is traded"])
    assert re.search(r"in bps of the account: .*risk [+-]\d", answers["Why"])
    assert re.search(r"worst scenario, .* returns -?\d.*worst shock, .* at once", answers["If the belief is wrong"])
    assert "Silence alone settles the question by" in answers["Look again"]
    end = page.evaluate("document.querySelector('.answers').getBoundingClientRect().bottom")
    assert end <= 900  # the height of the screen


def test_it_is_said_at_which_beliefs_nearest_to_the_books_own_the_trades_change(parts: dict[str, Any]) -> None:
    turned = copy.deepcopy(parts)
    axis = turned["stress"]["beliefs"]["axes"][0]
    axis["stated"] = 0.5
    axis["break_evens"] = [
        {"kind": kind, "what": what, "probability": None if by is None else 0.5 + by, "distance": by}
        | {"axis": axis["axis"]}
        for kind, what, by in (("trade", "A is no longer bought", -0.2), ("trade", "B is no longer sold", -0.1),
                               ("trade", "C is no longer sold", 0.3), ("trade", "D is no longer sold", None),
                               ("weight", "E is no longer above F", 0.01))
    ]  # fmt: skip
    text = html.unescape(report(turned))  # type: ignore[arg-type]  # a plain dict in a test

    told = "now 50.0%, falls to 40.0% (B is no longer sold) or rises to 80.0% (C is no longer sold)."
    assert f"When P({axis['axis']}), {told}" in text


def test_every_chart_has_its_title_above_it_and_stands_within_its_section(browser: Any, written: Path) -> None:
    page = Opened(browser, written).page
    titles = page.evaluate("[...document.querySelectorAll('figure')].map(one => [one.firstElementChild.tagName, "
                           "one.querySelector('h3').getBoundingClientRect().bottom <= "
                           "one.querySelector('svg').getBoundingClientRect().top])")  # fmt: skip

    assert titles
    assert all(one == ["FIGCAPTION", True] for one in titles)


def test_the_limits_of_the_risk_section_are_those_of_the_plan(parts: dict[str, Any]) -> None:
    (section,) = (one for one in sections({"plan": parts["plan"]}) if one.id == "risk")
    after = parts["plan"]["risk"]["after"]
    (tails,) = section.tables

    assert [row[-1] for row in tails.rows] == [tail["expected_shortfall"] for tail in after["tails"]]
    assert [row[3] for row in tails.rows] == [tail["value_at_risk"] for tail in after["tails"]]
    assert f"{after['effective_names']:.1f} effective names" in section.lines[0]
    assert all(f"{name} {weight:.1%}" in section.lines[1] for name, weight in after["largest"].items())
    added = next(table for table in section.folded if table.title == "What each name adds to risk")
    assert sum(row[1] for row in added.rows) == pytest.approx(after["volatility"], abs=1e-9)  # type: ignore[misc]


def test_views_and_what_is_assumed_are_shown_where_the_plan_has_them(parts: dict[str, Any]) -> None:
    plan = copy.deepcopy(parts["plan"])
    figures = {"before": 0.1, "met": 0.2, "after": 0.15, "multiplier": 0.0, "confidence": 0.5}
    plan["views"] = {"views": [{"view": "chips", "figure": "return of NVDA", "bounds": "at least 10%", **figures}]}
    plan["classification"] = {
        "unclassified": ["WIDGET"],
        "assumed": [{"archetype": "chip_seller", "instruments": ["NVDA", "AVGO"], "values": 7}],
    }
    text = report({"plan": plan})

    assert "return of NVDA" in text
    assert "says neither bucket nor archetype: WIDGET." in text
    assert "chip seller" in text
    assert "NVDA, AVGO" in text
    assert "Views" not in report({"plan": parts["plan"]})


@pytest.mark.parametrize(
    ("cell", "unit", "shown"),
    [
        (0.714524, "number", "0.715"), (47855.0, "number", "47,855"), (35.275, "price", "35.27"), (None, "bps", "–"),
        (True, "", "yes"), (-0.00001, "fraction", "0.0%"), ("capital_intensity", "word", "capital intensity"),
        (1234.5678, "number", "1,234.57"), ("a_b", "", "a_b"), (4831272.25, "number", "4,831,272.25"),
        (1e18, "number", "1e+18"),
    ],
)  # fmt: skip
def test_numbers_are_read_with_as_many_digits_as_matter(cell: Any, unit: Any, shown: str) -> None:
    assert as_read(cell, unit) == shown


@pytest.mark.parametrize(
    ("days", "told"),
    [
        ((2.5, 1.5), "Days to liquidate: 1.5 (current 2.5)."), ((None, 1.5), "1.5 (current unknown); unknown where"),
        ((None, None), "Days to liquidate: unknown; unknown where"),
    ],
)  # fmt: skip
def test_days_to_liquidate_are_told_of_whichever_portfolio_has_them(
    parts: dict[str, Any], days: tuple[float | None, ...], told: str
) -> None:
    plan = copy.deepcopy(parts["plan"])
    plan["risk"]["before"]["days_to_liquidate"], plan["risk"]["after"]["days_to_liquidate"] = days

    assert told in report({"plan": plan})


def test_what_a_plan_does_not_hold_is_not_spoken_of(parts: dict[str, Any]) -> None:
    turned = copy.deepcopy(parts)
    plan, shocks = turned["plan"], turned["stress"]["shocks"]["effects"]
    plan["orders"], plan["certificate"]["rules_checked"] = [], 1
    for row in plan["positions"]:
        row["active_weight_after"] = None
    for effect in shocks:
        effect["trades"] = {}
    text = report(turned)  # type: ignore[arg-type]  # a plain dict in a test

    assert "over sampled inputs" in report(parts)  # type: ignore[arg-type]
    assert "over sampled inputs" not in text
    assert "Active: beyond" not in text
    assert "Trades after each shock" not in text
    assert "The orders keep 1 rule and" in text


def test_an_instrument_at_the_head_of_a_column_keeps_its_name(parts: dict[str, Any]) -> None:
    text = report(json.loads(json.dumps(parts).replace("NVDA", "NV_DA")))

    assert re.search(r"<th[^>]*>NV_DA</th>", text.partition('id="slider"')[2])
    assert "NV DA" not in text


def test_a_loss_of_more_than_all_is_explained(parts: dict[str, Any]) -> None:
    plan = copy.deepcopy(parts["plan"])
    plan["risk"]["after"]["tails"][-1]["expected_shortfall"] = 1.2

    assert "further down than prices can fall" in report({"plan": plan})
    assert "further down than prices can fall" not in report({"plan": parts["plan"]})


def many(parts: dict[str, Any], count: int) -> dict[str, Any]:
    """The documents of a book of so many names: those of the sample, again and again."""

    def grown(part: Any) -> Any:
        if isinstance(part, dict):
            named = [name for name in part if name in known]
            copies = {f"{name}{i}": part[name] for i in range(count // 13) for name in named}
            return {key: grown(value) for key, value in part.items() if key not in known} | copies
        if isinstance(part, list):
            if part and isinstance(part[0], dict) and "instrument" in part[0]:
                return [
                    row | {"instrument": f"{row['instrument']}{i}"}
                    for i in range(count // 13)
                    for row in map(grown, part)
                ]
            if len(part) == len(known):
                return part * (count // 13)
            return [grown(one) for one in part]
        return part

    known = {row["instrument"] for row in parts["plan"]["positions"]}
    return {name: grown(document) for name, document in parts.items()}  # type: ignore[no-any-return]


def test_a_page_of_five_hundred_names_has_three_megabytes_at_most(parts: dict[str, Any]) -> None:
    large = many(parts, 500)
    page = report(large)  # type: ignore[arg-type]  # a plain dict in a test

    assert len(large["plan"]["positions"]) >= 500
    assert len(page.encode()) <= 3_000_000
    assert len(report(parts).encode()) <= 400_000  # type: ignore[arg-type]
    assert max(len(table.columns) for section in sections(large) for table in section.folded) <= 22  # type: ignore[arg-type]


# The command.
#
@pytest.fixture
def plan_file(parts: dict[str, Any], tmp_path: Path) -> Path:
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(parts["plan"]), encoding="utf-8")
    return path


def ask(*arguments: object) -> Any:
    return runner().invoke(main, ["report", *map(str, arguments)])


def test_of_a_plan_file_a_page_is_written_without_solving(
    plan_file: Path, tmp_path: Path, parts: dict[str, Any]
) -> None:
    done = ask(plan_file, "-o", tmp_path / "x.html", "--json")

    assert (done.exit_code, json.loads(done.stdout)["bytes"]) == (0, (tmp_path / "x.html").stat().st_size)
    assert (tmp_path / "x.html").read_text(encoding="utf-8") == report({"plan": parts["plan"]})
    assert ask(plan_file, "-o", tmp_path / "x.html", "--set", "mandate.max_weight=1").exit_code == 3


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        ({"format": "allocator.plan/1"}, "BOOK is no plan of format allocator.plan/2"),
        ({"risk": None}, "/risk must be of type object"),
        ({"orders": [{}]}, "/orders/0/side"),
        ({"positions": "none"}, "/positions must be of type array"),
        ({"strange": 1}, "/strange is no key that is known here"),
    ],
)
def test_a_file_that_is_no_plan_is_refused_and_the_previous_page_stays(
    plan_file: Path, tmp_path: Path, spoil: dict[str, Any], words: str
) -> None:
    plan_file.write_text(json.dumps(json.loads(plan_file.read_text()) | spoil), encoding="utf-8")
    page = tmp_path / "old.html"
    page.write_text("old", encoding="utf-8")
    done = ask(plan_file, "-o", page)

    assert done.exit_code == 3
    assert words in " ".join(done.stderr.split())
    assert page.read_text(encoding="utf-8") == "old"


def test_a_document_breaks_its_schema_where_another_reader_of_schemas_says_so(parts: dict[str, Any]) -> None:
    schema = json.loads((schemas_folder() / "plan.schema.json").read_text(encoding="utf-8"))
    other, draw = Draft202012Validator(schema, format_checker=FormatChecker()), random.Random(20)
    assert [*document_breaches(parts["plan"], "plan")] == []
    for _ in range(40):
        spoiled = copy.deepcopy(parts["plan"])
        part, key = spoiled, draw.choice([*spoiled])
        while isinstance(part[key], dict | list) and part[key] and draw.random() < 0.8:
            part = part[key]
            key = draw.choice([*part] if isinstance(part, dict) else range(len(part)))
        at = draw.choice(("drop", None, "x", 1.5, -7, [1], {}, True))
        if at == "drop":
            del part[key]
        else:
            part[key] = at
        found, theirs = {at for at, *_ in document_breaches(spoiled, "plan")}, [*other.iter_errors(spoiled)]
        assert bool(found) == bool(theirs)
        for error in theirs if not any(one.context for one in theirs) else ():
            place = "".join(f"/{one}" for one in error.absolute_path)
            assert any(one.startswith(place) for one in found)


def test_what_cannot_be_written_is_refused_and_the_previous_page_stays(
    plan_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page, device = tmp_path / "old.html", tmp_path / "device.html"
    page.write_text("old", encoding="utf-8")
    device.symlink_to("/dev/full")
    loop = tmp_path / "loop.html"
    loop.symlink_to(loop)
    for out, words in ((device, "it is no plain file"), (tmp_path / "no" / "x.html", "no such folder"),
                       (tmp_path / "x.pdf", "must end in .html"), (tmp_path / ("x" * 300 + ".html"), "name too long"),
                       (loop, "symbolic links")):  # fmt: skip
        done = ask(plan_file, "-o", out)
        assert (done.exit_code, words in " ".join(done.stderr.split())) == (3, True)
    assert Path("/dev/full").is_char_device()

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", full)
    done = ask(plan_file, "-o", page)
    assert (done.exit_code, "No space left on device" in " ".join(done.stderr.split())) == (3, True)
    assert page.read_text(encoding="utf-8") == "old"
    assert {path.name for path in tmp_path.iterdir()} == {"plan.json", "old.html", "device.html", "loop.html"}


def test_a_book_whose_name_no_file_can_have_is_refused(tmp_path: Path) -> None:
    done = ask("x" * 300 + ".json", "-o", tmp_path / "x.html")

    assert (done.exit_code, "cannot be read" in done.stderr) == (3, True)


def test_a_book_that_is_infeasible_makes_no_page(root: Path, tmp_path: Path) -> None:
    conflict = ("--set", "mandate.buckets.capital_intensity.max=0", "--set", "mandate.max_turnover=0")
    done = ask(root / "data" / "listed", *conflict, "-o", tmp_path / "x.html")

    assert done.exit_code == 4
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize(("months", "told"), [(0.3, "VaR 95%, 1 day<"), (0.03, "VaR 95%, the horizon<")])
def test_a_horizon_of_days_tells_losses_over_the_days_that_it_has(root: Path, months: float, told: str) -> None:
    book = load(root / "data" / "listed", overrides=[f"horizon.months={months}"])

    assert told in report({"plan": plan_document(rebalance(book))})
