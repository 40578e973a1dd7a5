"""The report in a browser: nothing leaves it, the slider shows what Python solved, phones, dark rooms and paper."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest

from allocator.reporting.page import as_read, report, sections

NASTY = "<script>document.title='hacked'</script>\"'&amp; 🧨 \u202eright to left\u202c " + "long" * 40
SIZES = {"desktop": 1200, "phone": 390}


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


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", SIZES.values(), ids=SIZES)
def test_no_screen_is_wider_than_itself_and_nothing_serious_bars_anybody(
    browser: Any, written: Path, width: int, scheme: str
) -> None:
    import axe_playwright_python

    page = Opened(browser, written, width=width, scheme=scheme).page
    page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")

    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.evaluate((Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text(encoding="utf-8"))
    found = page.evaluate("axe.run()")
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

    assert cut == []
    assert hidden == 0


def test_names_that_are_code_are_shown_as_text(browser: Any, parts: dict[str, Any], tmp_path: Path) -> None:
    name = parts["plan"]["orders"][0]["instrument"]
    spoiled = json.loads(json.dumps(parts).replace(json.dumps(name), json.dumps(NASTY)))
    spoiled["plan"]["book"]["name"] = NASTY
    path = tmp_path / "nasty.html"
    path.write_text(report(spoiled), encoding="utf-8")
    opened = Opened(browser, path, width=390)

    assert opened.complaints == []
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
