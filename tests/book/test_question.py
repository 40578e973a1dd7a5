"""What `[question]`, `[model]`, `[market]` and signals.csv may not say: the place, the rule and the cure."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from click.testing import Result

from allocator.book.loading import load
from allocator.errors import BadInput, Breach
from allocator.outlook.calibration import scenario_probabilities
from allocator.settings.reading import read_settings
from tests.thoroughness import some

if TYPE_CHECKING:
    from tests.conftest import Folder

Run = Callable[..., Result]
Valid = Callable[[str, str], dict[str, Any]]
HEADER = ["date", "kind", "source", "price_fall", "usage_growth"]


def refused(note: Folder, *overrides: str) -> list[Breach]:
    with pytest.raises(BadInput) as caught:
        load(note.path, overrides=overrides)
    assert all(breach.rule and breach.cure for breach in caught.value.breaches)
    return list(caught.value.breaches)


def cut(note: Folder, start: str, end: str) -> None:
    """Remove book.toml from the one text up to the next."""
    text = (note.path / "book.toml").read_text(encoding="utf-8")
    assert text.count(start) == 1
    first = text.index(start)
    (note.path / "book.toml").write_text(text[:first] + text[text.index(end, first) :], encoding="utf-8")


def test_a_book_that_agrees_with_itself_is_taken(note: Folder) -> None:
    note.write("signals.csv", [
        HEADER, ["2026-08-01", "verification", "OpenAI", "", ""], ["2026-07-01", "claim", "OpenAI", "", ""],
        ["2026-08-01", "usage", "a router", 0.2, 0.1], ["2026-09-01", "usage", "a router", 0.2, 0.1],
        ["2026-08-01", "usage", "another", 0.2, 0.1],
    ])  # fmt: skip

    book = load(note.path)

    assert book.signals is not None
    assert book.signals["date"].is_monotonic_increasing


def test_the_order_of_the_rows_does_not_matter(note: Folder) -> None:
    rows = [
        ["2026-07-01", "claim", "OpenAI", "", ""], ["2026-07-01", "verification", "OpenAI", "", ""],
        ["2026-08-01", "claim", "Google", "", ""], ["2026-08-01", "refutation", "Google", "", ""],
        ["2026-07-01", "usage", "x", 0.2, 0.1],
    ]  # fmt: skip
    orders, found = some(permutations(rows), 7), []
    for order in orders:
        note.write("signals.csv", [HEADER, *order])
        found.append(scenario_probabilities(load(note.path)))

    np.testing.assert_allclose(found, np.broadcast_to(found[0], (len(orders), 4)), atol=1e-15)


# Signals


@pytest.mark.parametrize(
    ("rows", "row", "column", "value", "rule", "cure"),
    [
        (
            [["2026-11-21", "claim", "OpenAI"]],
            2, "date", "2026-11-21", "is after as_of = 2026-11-20",
            "1 signal lies after it: use --as-of 2026-11-21 or later",
        ),
        (
            [["2026-04-07", "claim", "OpenAI"]],
            2, "date", "2026-04-07", "is before the question opened on 2026-04-08", "belongs in the prior",
        ),
        (
            [["2026-07-01", "claim", "OpenIA"]],
            2, "source", "OpenIA", "no such source in [question.sources] or [question.labs]", "did you mean 'OpenAI'?",
        ),
        (
            [["2026-07-01", "claim", "OpenAI"], ["2026-07-01", "claim", "OpenAI"]],
            3, "kind", "claim OpenAI", "stands here twice", "keep one of them",
        ),
        (
            [["2026-07-01", "usage", "x", 0.2, 0.1], ["2026-07-01", "usage", "x", 0.2, 0.3]],
            3, "kind", "usage x", "stands here twice", "keep one of them",
        ),
        (
            [["2026-07-01", "verification", "Google"]],
            2, "kind", "verification", "Google has claimed nothing by 2026-07-01", "add the claim",
        ),
        (
            [["2026-08-01", "claim", "Google"], ["2026-07-01", "refutation", "Google"]],
            3, "kind", "refutation", "Google has claimed nothing by 2026-07-01", "add the claim",
        ),
        (
            [["2026-07-01", "claim", "Google"], ["2026-08-01", "verification", "Google"],
             ["2026-09-01", "refutation", "Google"]],
            4, "kind", "refutation Google", "a claim is judged once, and this one's verification is of 2026-08-01",
            "keep the row that holds",
        ),
        (
            [["2026-09-01", "verification", "Google"], ["2026-08-01", "refutation", "Google"],
             ["2026-07-01", "claim", "Google"]],
            2, "kind", "verification Google", "a claim is judged once, and this one's refutation is of 2026-08-01",
            "keep the row that holds",
        ),
        (
            [["2026-07-01", "claim", "Google", 0.2, ""]],
            2, "price_fall", "0.2", "belongs to a usage figure, and this is a claim", "clear the cell, or change",
        ),
        (
            [["2026-07-01", "claim", "Google"], ["2026-08-01", "refutation", "Google", "", 0.1]],
            3, "usage_growth", "0.1", "belongs to a usage figure, and this is a refutation", "clear the cell",
        ),
        (
            [["2026-07-01", "usage", "x", "", 0.1]],
            2, "price_fall", "", "is needed for a usage figure", "a price that halves is 0.69",
        ),
        (
            [["2026-07-01", "usage", "x", 0.2, ""]],
            2, "usage_growth", "", "is needed for a usage figure", "write a log change",
        ),
    ],
)  # fmt: skip
def test_a_signal_that_cannot_be_is_refused_where_it_stands(
    note: Folder, rows: list[list[object]], row: int, column: str, value: str, rule: str, cure: str
) -> None:
    note.write("signals.csv", [HEADER, *([*one, *[""] * (5 - len(one))] for one in rows)])

    (breach,) = refused(note)

    assert (breach.table, breach.row, breach.column, breach.value) == ("signals.csv", row, column, value)
    assert breach.rule == rule
    assert cure in breach.cure


@pytest.mark.parametrize(
    ("row", "column", "said"),
    [
        (["2026-07-01", "rumour", "OpenAI", "", ""], "kind", "claim"),
        (["2026-07-01", "usage", "x", -0.2, 0.1], "price_fall", "0.0001 to 5"),
        (["2026-07-01", "usage", "x", 0, 0.1], "price_fall", "0.0001 to 5"),
        (["2026-07-01", "usage", "x", 0.2, 57], "usage_growth", "-5 to 10"),
        (["July", "claim", "OpenAI", "", ""], "date", "date"),
    ],
)
def test_a_signal_outside_its_contract_is_refused_where_it_stands(
    note: Folder, row: list[object], column: str, said: str
) -> None:
    note.write("signals.csv", [HEADER, row])

    (breach,) = refused(note)

    assert (breach.table, breach.row, breach.column) == ("signals.csv", 2, column)
    assert said in f"{breach.rule} {breach.cure}"


def test_usage_figures_need_a_belief_to_move(note: Folder) -> None:
    cut(note, "[question.demand]", "[question.ranges]")

    first, second = refused(note)

    assert (first.row, second.row) == (2, 3)
    assert first.rule == "needs [question.demand]"


def test_signals_need_a_question_to_speak_to(note: Folder) -> None:
    cut(note, "[question]", "[scenarios.generalizable_jevons]")

    found = {(breach.table, breach.column): breach for breach in refused(note)}

    assert found["signals.csv", None].rule == "signals speak to a question, and there is no [question]"
    assert "without [question] nothing says how prices moved since" in found["book.toml", "market.date"].rule


def test_every_breach_of_all_signals_is_told_at_once(note: Folder) -> None:
    note.write("signals.csv", [HEADER, ["2026-12-01", "claim", "Nobody", "", ""], ["2026-01-01", "usage", "x", "", ""]])

    assert sorted((breach.row, breach.column) for breach in refused(note)) == [
        (2, "date"), (2, "source"), (3, "date"), (3, "price_fall"), (3, "usage_growth"),
    ]  # fmt: skip


# Settings out of range


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("question.labs.OpenAI.disclosure=1.2", "question.labs.OpenAI.disclosure"),
        ("question.labs.OpenAI.disclosure=1", "question.labs.OpenAI.disclosure"),
        ("question.labs.OpenAI.hazard=-0.1", "question.labs.OpenAI.hazard"),
        ("question.labs.OpenAI.hazard=13.6", "question.labs.OpenAI.hazard"),
        ("question.labs.Google.background=0", "question.labs.Google.background"),
        ("question.labs.Google.lag_months=-1", "question.labs.Google.lag_months"),
        ("question.threshold=0.4", "question.threshold"),
        ("question.threshold=1", "question.threshold"),
        ("question.frailty=0", "question.frailty"),
        ("question.demand.elasticity_deviation=0", "question.demand.elasticity_deviation"),
        ("scenarios.proprietary_jevons.usage_elasticity=-1", "scenarios.proprietary_jevons.usage_elasticity"),
        ("scenarios.proprietary_jevons.usage_elasticity=190", "scenarios.proprietary_jevons.usage_elasticity"),
        ("scenarios.proprietary_jevons.training_elasticity=-0.1", "scenarios.proprietary_jevons.training_elasticity"),
        ("scenarios.proprietary_jevons.replicability=1.1", "scenarios.proprietary_jevons.replicability"),
        ("scenarios.proprietary_jevons.pass_through=35", "scenarios.proprietary_jevons.pass_through"),
        ("scenarios.proprietary_jevons.capacity=0", "scenarios.proprietary_jevons.capacity"),
        ("model.token_reduction=0.37", "model.token_reduction"),
        ("model.training_share=45", "model.training_share"),
        ("model.salvage=-0.4", "model.salvage"),
        ("model.rent_low=1.2", "model.rent_low"),
        ("model.rent_high=0.9", "model.rent_high"),
        ("model.adoption_years=0", "model.adoption_years"),
        ("horizon.announcement_share=1.5", "horizon.announcement_share"),
        ("market.probabilities.proprietary_jevons=-0.1", "market.probabilities.proprietary_jevons"),
        ("robust.caution=2", "robust.caution"),
    ],
)
def test_a_parameter_outside_its_range_is_refused_by_its_key(root: Path, override: str, key: str) -> None:
    text = (root / "tests" / "plain_books" / "note" / "book.toml").read_text(encoding="utf-8")

    with pytest.raises(BadInput) as caught:
        read_settings(text, overrides=[override])

    (breach,) = caught.value.breaches
    assert key in f"{breach.column}"


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("question.release=0.96", "release = 0.96 is above threshold = 0.95; lower it"),
        ("question.sensitivity=0.005", "false_positive must be below sensitivity"),
        (
            "question.ranges.hazard=[0.2, 0.1]",
            "hazard = [0.2, 0.1] must be [lowest, highest]; write the lowest first: [0.1, 0.2]",
        ),
        ("question.ranges.prior=[0, 1]", "prior = [0, 1] must be above 0 and below 1"),
        ("question.labs.OpenAI.disclosure=1", "must be below 1 (got '1')"),
        ("question.ranges.disclosure=[0.7, 1.0]", "disclosure = [0.7, 1] must be above 0 and below 1"),
        (
            "question.ranges.prior=[0.6, 0.7]",
            "scenarios.*.probability: of the generalizable scenarios is "
            "outside [question.ranges] prior = [0.6, 0.7] (got '0.5')",
        ),
        (
            "question.ranges.hazard=[0.01, 0.02]",
            "question.labs.Google.hazard: of Google is outside [question.ranges] hazard = [0.01, 0.02]",
        ),
        ("question.ranges.background=[0.7, 0.8]", "of Google is outside [question.ranges] background = [0.7, 0.8]"),
        ("question.ranges.disclosure=[0.9, 0.95]", "of OpenAI is outside [question.ranges] disclosure"),
        ("question.opened=2026-11-21", "is after as_of = 2026-11-20"),
        ("scenarios.proprietary_jevons.hypothesis=propietary", "must be generalizable or proprietary"),
        ("scenarios.proprietary_jevons.regime=boom", "must be jevons or compression for [question] to mean it"),
        ("scenarios.proprietary_jevons.probability=0.29", "1.01"),
        ("market.probabilities.proprietary_jevons=0.3", "lower them by 0.025 in all"),
        ("market.probabilities.propietary_jevons=0", "did you mean 'proprietary_jevons'?"),
        ("market.date=2026-11-21", "is after as_of = 2026-11-20"),
        ("market.date=2026-04-01", "is before the question opened on 2026-04-08"),
    ],
)
def test_settings_that_disagree_are_refused_with_what_is_wrong(note: Folder, override: str, said: str) -> None:
    assert any(said in str(breach) for breach in refused(note, override))


def test_an_answer_without_a_prior_can_never_be_spoken_for(note: Folder) -> None:
    scenarios = ("generalizable_jevons=0", "generalizable_compression=0", "proprietary_jevons=0.6",
                 "proprietary_compression=0.4")  # fmt: skip
    found = refused(note, *(f"scenarios.{one.replace('=', '.probability=')}" for one in scenarios))

    assert [(breach.column, breach.value) for breach in found] == [("scenarios.*.hypothesis", "generalizable")]
    assert "no signal could ever speak for it" in found[0].rule


@pytest.mark.parametrize("key", ["replicability", "pass_through", "usage_elasticity", "training_elasticity",
                                 "multiple_compression"])  # fmt: skip
def test_the_model_needs_every_parameter_of_every_scenario(note: Folder, key: str) -> None:
    text = (note.path / "book.toml").read_text(encoding="utf-8")
    lines = text.splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith(f"{key} ="))
    (note.path / "book.toml").write_text("\n".join(lines[:first] + lines[first + 1 :]), encoding="utf-8")

    (breach,) = refused(note)

    assert (breach.column, breach.rule) == (f"scenarios.generalizable_jevons.{key}", "is needed by [model]")


def test_without_a_model_a_market_wants_typed_returns(note: Folder) -> None:
    cut(note, "[model]", "[market]")

    found = [(breach.table, breach.column, breach.rule) for breach in refused(note)]

    assert ("scenario_returns", None, "this table is required, as there is no [model]") in found


def test_a_scenario_that_prices_leave_out_must_be_said_to_be_excluded(note: Folder) -> None:
    cut(note, "proprietary_compression = 0.225", "\n[horizon]")

    found = {breach.column: breach for breach in refused(note)}

    assert found["market.probabilities.proprietary_compression"].cure == "add it; 0 says that prices exclude it"
    assert found["market.probabilities"].cure == "the sum is 0.775: raise them by 0.225 in all"


# Loadings


def test_loadings_that_do_not_sum_to_one_say_their_sum(note: Folder) -> None:
    row = note.cell("exposures.csv", "META", "other", "0.8")

    (breach,) = refused(note)

    assert (breach.table, breach.row, breach.value) == ("exposures.csv", row, "1.1")
    assert breach.rule == "the five loadings must sum to 1"
    assert breach.cure == "the sum is 1.1; what hangs on no driver goes into other"


@pytest.mark.parametrize(
    ("column", "value"),
    [("owner", "1.2"), ("gross_margin", "0"), ("required_return", "9"), ("token_share", "20"),
     ("committed_capex", "-1"), ("passed_on", "-0.1"), ("application_margin", "0"), ("multiple_loading", "1e9")],
)  # fmt: skip
def test_a_loading_outside_its_range_is_refused_where_it_stands(note: Folder, column: str, value: str) -> None:
    row = note.cell("exposures.csv", "META", column, value)

    (breach,) = refused(note)

    assert (breach.table, breach.row, breach.column) == ("exposures.csv", row, column)


# The calendar


@pytest.mark.parametrize(
    ("override", "key", "table"),
    [
        ("book.as_of=3000-01-01", "book.as_of", "--set"),
        ("book.as_of=1899-12-31", "book.as_of", "--set"),
        ("question.opened=1899-12-31", "question.opened", "--set"),
        ("market.date=9990-01-01", "market.date", "--set"),
    ],
)
def test_a_day_beyond_the_calendar_is_refused(note: Folder, override: str, key: str, table: str) -> None:
    breach = next(breach for breach in refused(note, override) if breach.column == key)

    assert breach.table == table
    assert breach.rule.endswith("must lie from 1900-01-01 to 2999-12-31")
    assert breach.cure == "correct the year"


@pytest.mark.parametrize("day", ["9990-01-01", "9999-12-31", "0001-01-01", "3000-01-01", "1899-12-31"])
@pytest.mark.parametrize("command", ["beliefs", "check", "rebalance"])
def test_an_as_of_beyond_the_calendar_is_refused_as_what_it_is(
    root: Path, run: Run, valid: Valid, command: str, day: str
) -> None:
    answer = run(command, root / "tests" / "plain_books" / "note", "--as-of", day, "--json")

    (breach,) = valid(answer.stdout, "error")["errors"]
    assert answer.exit_code == 3
    assert (breach["table"], breach["row"], breach["column"]) == ("--as-of", None, "book.as_of")
    assert (breach["rule"], breach["cure"]) == (f"{day} must lie from 1900-01-01 to 2999-12-31", "correct the year")


@pytest.mark.parametrize("command", ["beliefs", "returns", "check"])
def test_the_last_day_of_the_calendar_is_a_day_as_any_other(root: Path, run: Run, command: str) -> None:
    answer = run(command, root / "tests" / "plain_books" / "note", "--as-of", "2999-12-31", "--json")

    assert answer.exit_code == 0


def test_a_shock_that_tells_something_beyond_the_dates_of_tables_is_refused(note: Folder) -> None:
    day = "as_of = 2199-06-01"
    note.replace("book.toml", "as_of = 2026-11-20", day)
    add_shock = '[shocks.late]\nsignals = [{ kind = "claim", source = "OpenAI", after_months = 12 }]\n'
    text = (note.path / "book.toml").read_text(encoding="utf-8")
    (note.path / "book.toml").write_text(f"{text}\n{add_shock}", encoding="utf-8")

    (breach,) = [breach for breach in refused(note) if breach.column == "shocks.late.signals"]
    assert (breach.value, breach.rule) == ("2200-06-02", "must come before 2200, as every row of a table")


# Through the command line


@pytest.mark.parametrize("command", ["beliefs", "returns", "implied", "rebalance", "check"])
def test_every_command_refuses_a_signal_from_the_future(note: Folder, run: Run, valid: Valid, command: str) -> None:
    note.write("signals.csv", [HEADER, ["2026-12-01", "claim", "OpenAI", "", ""]])

    answer = run(command, note.path, "--json")

    (breach,) = valid(answer.stdout, "error")["errors"]
    assert answer.exit_code == 3
    assert (breach["table"], breach["row"], breach["column"]) == ("signals.csv", 2, "date")
    assert breach["cure"].startswith("1 signal lies after it: use --as-of ")


def test_a_day_before_signals_is_told_the_first_that_works(note: Folder, run: Run) -> None:
    told = " ".join(run("beliefs", note.path, "--as-of", "2026-05-01").stderr.split())

    assert "2 signals lie after it: use --as-of 2026-10-30 or later, or remove these 2 rows" in told
    assert run("beliefs", note.path, "--as-of", "2026-10-30").exit_code == 0


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("question.labs.OpenAI.hazard=-1", "question.labs.OpenAI.hazard"),
        ("scenarios.proprietary_jevons.usage_elasticity=19", "usage_elasticity"),
        ("market.date=2026-04-01", "is before the question opened on 2026-04-08"),
        ("scenarios.proprietary_jevons.probability=0.5", "1.22"),
    ],
)
def test_people_are_told_what_is_wrong_and_how_to_cure_it(note: Folder, run: Run, override: str, said: str) -> None:
    answer = run("beliefs", note.path, "--set", override)

    assert (answer.exit_code, answer.stdout) == (3, "")
    assert said in " ".join(answer.stderr.split())
