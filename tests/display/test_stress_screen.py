"""`allocator stress` holds one screen whatever is asked, and --full says all that the first screen mentions."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from itertools import takewhile
from typing import Any

import pytest

from allocator.__main__ import main
from allocator.display.console import console
from allocator.display.stress import show_stress
from allocator.display.stress_screen import ANSWER, LEGEND, ScreenBlock, ScreenSection, show_sections, text_block
from allocator.stress_testing.outcomes import CURRENT, PROPOSED
from allocator.stress_testing.replay import LENGTHS, HistoricalReplay, LosingPosition, ReplayWindow
from allocator.stress_testing.stress import StressReport, stress
from tests.command_line import runner
from tests.stress_testing.sample_plans import planned, staged

BOOKS = ("listed", "note", "reviewed")
STUDIES = ("shocks", "reverse", "replay", "beliefs", "map", "model")
ASKED: dict[str, tuple[str, ...]] = {
    "nothing": ("shocks", "reverse", "replay", "beliefs"),
    "everything": STUDIES,
    **{study: (study,) for study in STUDIES},
}
FIGURE = re.compile(r"\d+\.\d+")


@cache
def report(name: str) -> StressReport:
    plan: Any = staged() if name == "reviewed" else planned(name)
    return stress(plan.book, plan=plan, map_steps=17, draws=16)


def losing(portfolio: str, rows: int) -> ReplayWindow:
    losers = tuple(LosingPosition(name, -0.5, rows / 3000, by_beta=True) for name in ("AAA", "BBB", "CCC"))
    return ReplayWindow(portfolio, rows, "2020-02-19", "2020-03-23", rows / 1000, losers)


def with_history(found: StressReport) -> StressReport:
    """The sample books have no history: a replay of the length that one has."""
    windows = tuple(losing(portfolio, rows) for portfolio in (CURRENT, PROPOSED) for rows in LENGTHS)
    return replace(found, replay=HistoricalReplay(windows, dict.fromkeys(LENGTHS, 9), ("3 rows left out",)))


def asked(name: str, studies: tuple[str, ...]) -> StressReport:
    """The same report as if only these studies had been asked."""
    kept: dict[str, Any] = {study: None for study in STUDIES if study not in studies}
    whole = report(name)
    return replace(whole, **kept, why_not={part: why for part, why in whole.why_not.items() if part in studies})


def screen(found: StressReport, capsys: pytest.CaptureFixture[str], *, full: bool = False) -> list[str]:
    capsys.readouterr()
    show_stress(found, full=full)
    return capsys.readouterr().out.splitlines()


def of_shocks(name: str, count: int) -> StressReport:
    whole = asked(name, ("shocks",))
    assert whole.shocks is not None
    effects = sorted(whole.shocks.effects, key=lambda one: -len(one.trades))
    return replace(whole, shocks=replace(whole.shocks, effects=tuple(effects[:count]), asked=count, left_out={}))


def together(name: str) -> pytest.MarkDecorator:
    """On one worker: a report is made once for all that show it."""
    return pytest.mark.xdist_group(f"stress of {name}")


def every_request(name: str) -> dict[str, StressReport]:
    found = {words: asked(name, studies) for words, studies in ASKED.items()}
    found |= {f"{count} shocks": of_shocks(name, count) for count in (1, 2, 3)}
    found |= {f"{words}, with a history": with_history(found[words]) for words in ("nothing", "everything", "replay")}
    return found


def only_everything(name: str) -> dict[str, StressReport]:
    return {"everything, with a history": with_history(asked(name, STUDIES))}


SCREENS: dict[str, dict[str, tuple[list[str], list[str]]]] = {}


@pytest.fixture(params=[pytest.param(name, marks=together(name)) for name in BOOKS])
def screens(
    request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> dict[str, tuple[list[str], list[str]]]:
    """Of each request of a book, the first screen of 80 columns and the full one."""
    monkeypatch.setenv("COLUMNS", "80")
    if request.param not in SCREENS:
        SCREENS[request.param] = {
            words: (screen(found, capsys), screen(found, capsys, full=True))
            for words, found in every_request(request.param).items()
        }
    return SCREENS[request.param]


def test_whatever_is_asked_fits_forty_five_lines_of_eighty_columns(
    screens: dict[str, tuple[list[str], list[str]]],
) -> None:
    for words, (lines, _) in screens.items():
        assert len(lines) <= 45, words
        assert max(map(len, lines)) <= 80, words


def test_what_the_first_screen_mentions_stands_in_full_too(screens: dict[str, tuple[list[str], list[str]]]) -> None:
    for words, (first, full) in screens.items():
        whole = " ".join(" ".join(full).split())
        figures = set(FIGURE.findall(whole))
        assert set(FIGURE.findall(" ".join(first))) <= figures, words
        rows = {" ".join(line.split()) for line in full}
        for line in takewhile(lambda line: not line.startswith("--full adds sections"), first):
            mentioned = " ".join(line.split())
            own = mentioned.startswith(("And ", "--full")) or not FIGURE.search(mentioned)
            assert own or mentioned in rows or mentioned in whole, (words, line)


def test_a_section_that_is_cut_says_what_full_adds(screens: dict[str, tuple[list[str], list[str]]]) -> None:
    for words, (first, full) in screens.items():
        cut = [line for line in first if line.startswith("--full adds ")]
        assert bool(cut) == (first != full), words
        assert not any("--full" in line for line in full), words


@together("note")
@pytest.mark.parametrize(("width", "requests"), [(60, every_request), (72, only_everything)])
def test_on_a_narrow_terminal_no_line_is_wider_than_it(
    width: int,
    requests: Callable[[str], dict[str, StressReport]],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    for words, found in requests("note").items():
        for full in (False, True):
            assert max(map(len, screen(found, capsys, full=full))) <= width, words


@together("note")
def test_a_study_that_is_alone_has_the_room_of_the_others(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    among = screen(asked("note", STUDIES), capsys)
    rows = {" ".join(line.split()) for line in among}
    for study in ("shocks", "reverse", "beliefs", "map", "model"):
        alone = screen(asked("note", (study,)), capsys)
        assert sum(" ".join(line.split()) not in rows for line in alone) > 5, study


def test_full_is_of_the_screen_and_changes_no_document(root: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    asked_for = ["stress", str(root / "tests" / "plain_books" / "note"), "--reverse", "10%"]
    asked_in_json = [*asked_for[:2], "--shock", "all_silent_12_months", "--json"]
    documents = [runner().invoke(main, [*asked_in_json, *more]).stdout for more in ((), ("--full",))]
    assert json.loads(documents[0]) == json.loads(documents[1])
    screens = [runner().invoke(main, [*asked_for, *more]).stdout for more in ((), ("--full",))]
    assert len(screens[0].splitlines()) <= 45 < len(screens[1].splitlines())


def test_what_matters_least_makes_room_first_and_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    table = ScreenBlock(lambda out, rows: out.print("\n".join(f"row {i}" for i in range(rows))), "rows", rows=60)
    sections = [
        ScreenSection("First", (text_block("answer", priority=ANSWER), table, text_block("words", "legend", LEGEND))),
        ScreenSection("Second", (text_block("more", "more", LEGEND),)),
    ]
    show_sections(console(), sections, full=False)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 45
    assert lines[1:4] == ["First", "answer", "row 0"]
    assert lines[-3:] == ["--full adds rows, legend.", "", "--full adds sections: Second."]
    show_sections(console(), sections, full=True)
    assert "--full" not in capsys.readouterr().out
