"""Scenario cards: what is read from scenarios.md, what it refuses, and what has come due."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

from allocator.errors import BadInput
from allocator.outlook.question import Signal
from allocator.outlook.scenario_cards import DueObservation, Observation, SignalTie, due_observations, read_cards
from tests.outlook.questions import said, usage

SCENARIOS = ("generalizable_jevons", "proprietary_jevons")
LABS = ("OpenAI", "Google DeepMind")
DAY = dt.date(2027, 4, 8)

TEXT = """# What would contradict each scenario

## generalizable_jevons
- by 2027-04-08: no rival has announced a similar saving (signal: no claim)
- by 2026-10-31: usage grows by less than
  prices fall (signal: usage below 1)

## proprietary_jevons

- by 2027-04-08: Google confirms (of course) a saving (signal: verification Google DeepMind)
- by 2027-05-15: rented accelerators get cheaper
"""


def breaches(text: str, labs: tuple[str, ...] | None = LABS) -> list[str]:
    with pytest.raises(BadInput) as caught:
        read_cards(text, SCENARIOS, labs)
    return [str(breach) for breach in caught.value.breaches]


def figure(day: dt.date, elasticity: float) -> Signal:
    return usage(day, 0.25, 0.25 * elasticity)


def contradictions(text: str, signals: list[Signal], as_of: dt.date) -> list[bool | None]:
    return [one.contradicted for one in due_observations(read_cards(text, SCENARIOS, LABS), signals, as_of)]


def test_a_card_is_a_heading_and_its_dated_observations() -> None:
    found = read_cards(TEXT, SCENARIOS, LABS)

    assert found == {
        "generalizable_jevons": (
            Observation(
                "generalizable_jevons", DAY, "no rival has announced a similar saving", SignalTie("claim", absent=True)
            ),
            Observation(
                "generalizable_jevons",
                dt.date(2026, 10, 31),
                "usage grows by less than prices fall",
                SignalTie("usage", below=1.0),
            ),
        ),
        "proprietary_jevons": (
            Observation(
                "proprietary_jevons",
                DAY,
                "Google confirms (of course) a saving",
                SignalTie("verification", "Google DeepMind"),
            ),
            Observation("proprietary_jevons", dt.date(2027, 5, 15), "rented accelerators get cheaper", None),
        ),
    }


@pytest.mark.parametrize("text", ["", "\n\n", "# Words only\n"])
def test_a_page_without_headings_and_bullets_holds_no_cards(text: str) -> None:
    assert read_cards(text, SCENARIOS) == {}


def test_a_page_needs_no_title() -> None:
    assert read_cards(TEXT.partition("\n")[2], SCENARIOS, LABS) == read_cards(TEXT, SCENARIOS, LABS)


@pytest.mark.parametrize(
    ("heading", "cure"),
    [
        ("# proprietary_jevons", "write '## proprietary_jevons'"),
        ("# Proprietary Jevons", "write '## proprietary_jevons'"),
        ("### proprietary_jevons", "write '## proprietary_jevons'"),
        ("##proprietary_jevons", "write '## proprietary_jevons'"),
        ("# Further reading", "write '## scenario'; a '# title' may only be the first line"),
        ("###", "write '## scenario'; a '# title' may only be the first line"),
    ],
)
def test_another_heading_than_a_scenarios_is_refused_where_it_stands(heading: str, cure: str) -> None:
    (breach,) = breaches(TEXT.replace("## proprietary_jevons", heading))

    assert breach == f"scenarios.md:8: is no heading of a card (got {heading!r}); {cure}"


@pytest.mark.parametrize("title", ["# generalizable_jevons", "# generalisable jevons", "# generalizable"])
def test_a_title_that_is_nearly_a_scenario_is_refused(title: str) -> None:
    found = breaches(TEXT.replace("# What would contradict each scenario", title))

    assert found == [f"scenarios.md:1: is no heading of a card (got {title!r}); write '## generalizable_jevons'"]


@pytest.mark.parametrize("line", ["Words for people.", "- by 2027-04-08: cheaper racks", "* a list"])
def test_what_stands_above_the_first_card_is_refused(line: str) -> None:
    (breach,) = breaches(TEXT.replace("## generalizable_jevons", f"{line}\n\n## generalizable_jevons"))

    assert breach.startswith(f"scenarios.md:3: stands above the first '## scenario' (got {line!r}); put it below its")
    assert "such as '## generalizable_jevons'" in breach


@pytest.mark.parametrize("line", ["- by 2027-05-15: cheaper racks", "## proprietary_jevons"])
def test_an_indented_bullet_or_heading_is_no_part_of_the_bullet_above(line: str) -> None:
    plain = TEXT.replace("## proprietary_jevons", "- by 2027-05-15: cheaper racks\n\n## proprietary_jevons")

    assert read_cards(plain.replace(f"\n{line}", f"\n  {line}"), SCENARIOS, LABS) == read_cards(plain, SCENARIOS, LABS)


@pytest.mark.parametrize("word", ["Signal", "SIGNAL", "signal"])
def test_a_tie_is_read_in_any_case(word: str) -> None:
    assert read_cards(TEXT.replace("(signal:", f"({word}:"), SCENARIOS, LABS) == read_cards(TEXT, SCENARIOS, LABS)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("## proprietary_jevons", "## propietary_jevons", "scenarios.md:8: no such scenario in book.toml"),
        ("## proprietary_jevons", "## generalizable_jevons", "scenarios.md:8: is there twice"),
        ("- by 2027-05-15: rented", "- in May: rented", "scenarios.md:11: is no dated observation"),
        ("- by 2027-05-15: rented accelerators get cheaper", "- by 2027-05-15:", "scenarios.md:11: is no dated obs"),
        ("- by 2027-05-15: rented", "rented", "scenarios.md:11: is no dated observation"),
        ("2027-05-15", "2027-02-30", "scenarios.md:11: is no day of the calendar (got '2027-02-30')"),
        ("(signal: no claim)", "(signal: no clam)", "scenarios.md:4: no such kind of signal (got 'no clam')"),
        ("(signal: no claim)", "(signal: )", "scenarios.md:4: no such kind of signal"),
        ("(signal: no claim)", "( Signal: no claim)", "scenarios.md:4: has a signal that cannot be read"),
        ("(signal: no claim)", "[SIGNAL: no claim]", "scenarios.md:4: has a signal that cannot be read"),
        ("(signal: no claim)", "(Signal no claim)", "scenarios.md:4: has a signal that cannot be read"),
        ("(signal: no claim)", "; signal: no claim", "scenarios.md:4: has a signal that cannot be read"),
        ("(signal: no claim)", "(signal: claim) (signal: no claim)", "scenarios.md:4: has a signal that cannot be re"),
        ("(signal: no claim)", "(signals: no claim)", "scenarios.md:4: has a signal that cannot be read"),
        ("(signal: no claim)", "(signl: claim)", "scenarios.md:4: ends in a bracket that is no signal"),
        ("(signal: no claim)", "[sgnal: no claim].", "scenarios.md:4: ends in a bracket that is no signal"),
        ("(signal: no claim)", "(see: no claim", "scenarios.md:4: ends in a bracket that is no signal"),
        (
            "Google DeepMind)",
            "Googel DeepMind)",
            "no such source in [question.sources] or [question.labs] (got 'Googel DeepMind')",
        ),
        ("usage below 1", "usage", "scenarios.md:5: a usage figure needs a limit"),
        ("usage below 1", "usage below one", "scenarios.md:5: a usage figure needs a limit"),
    ],
)
def test_what_is_no_card_is_refused_where_it_stands(old: str, new: str, said: str) -> None:
    (breach,) = breaches(TEXT.replace(old, new))

    assert said in breach
    assert "; " in breach


def test_all_breaches_of_a_page_are_told_at_once_with_the_nearest_names() -> None:
    found = breaches(TEXT.replace("proprietary", "propietary").replace("no claim", "no clam"))

    assert len(found) == 2
    assert "did you mean 'claim'?" in found[0]
    assert "did you mean 'proprietary_jevons'?" in found[1]


def test_without_labs_any_name_may_be_tied() -> None:
    assert len(read_cards(TEXT, SCENARIOS)["proprietary_jevons"]) == 2


def test_nothing_is_due_before_its_day() -> None:
    assert due_observations(read_cards(TEXT, SCENARIOS, LABS), [], dt.date(2026, 10, 30)) == ()


def test_on_its_day_an_observation_is_due_earliest_first() -> None:
    found = due_observations(read_cards(TEXT, SCENARIOS, LABS), [], dt.date(2027, 5, 15))

    assert [one.observation.by.isoformat() for one in found] == ["2026-10-31", "2027-04-08", "2027-04-08", "2027-05-15"]
    assert isinstance(found[0], DueObservation)


def test_silence_contradicts_only_once_it_has_lasted() -> None:
    card = "## generalizable_jevons\n- by 2027-04-08: nobody claims (signal: no claim)\n"
    claim = said(dt.date(2027, 1, 4), "claim", "OpenAI")

    assert contradictions(card, [], DAY - dt.timedelta(1)) == []
    assert contradictions(card, [], DAY) == [True]
    assert contradictions(card, [claim], DAY) == [False]
    assert contradictions(card, [said(DAY + dt.timedelta(1), "claim", "OpenAI")], dt.date(2027, 5, 1)) == [True]


def test_a_signal_contradicts_from_the_day_it_is_seen() -> None:
    card = "## proprietary_jevons\n- by 2027-04-08: a claim of OpenAI (signal: claim OpenAI)\n"
    early, late = (said(day, "claim", "OpenAI") for day in (dt.date(2026, 12, 1), DAY + dt.timedelta(1)))

    assert contradictions(card, [early], dt.date(2026, 11, 30)) == []
    assert contradictions(card, [early], dt.date(2026, 12, 1)) == [True]
    assert contradictions(card, [late], dt.date(2027, 5, 1)) == [False]
    assert contradictions(card, [said(early.date, "claim", "Google DeepMind")], DAY) == [False]


def test_a_usage_figure_contradicts_on_its_own_side_of_the_limit_only() -> None:
    below = "## generalizable_jevons\n- by 2027-04-08: less (signal: usage below 1)\n"
    above = below.replace("below", "above")
    day = dt.date(2026, 12, 1)

    assert contradictions(below, [figure(day, 0.8)], DAY) == [True]
    assert contradictions(below, [figure(day, 1.4)], DAY) == [False]
    assert contradictions(above, [figure(day, 1.4)], DAY) == [True]
    assert contradictions(above, [figure(day, 0.8)], DAY) == [False]


def test_an_untied_observation_that_is_due_wants_somebody_to_look() -> None:
    assert contradictions("## proprietary_jevons\n- by 2027-04-08: cheaper racks\n", [], DAY) == [None]


@pytest.mark.parametrize("book", ["note", "listed"])
def test_the_cards_of_the_sample_books_can_be_read(book: str, root: Path) -> None:
    import tomllib

    folder = root / "tests" / "plain_books" / book
    settings = tomllib.loads((folder / "book.toml").read_text(encoding="utf-8"))

    found = read_cards(
        (folder / "scenarios.md").read_text(encoding="utf-8"), settings["scenarios"], settings["question"]["labs"]
    )

    assert set(found) == set(settings["scenarios"])
    assert all(found.values())
