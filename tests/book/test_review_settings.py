"""What reviews and a utility must agree on with the rest of the book: each breach, in its own words."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from tests.conftest import Folder

Run = Callable[..., Result]
REVIEWS = "reviews = [2027-02-20, 2027-05-20, 2027-08-20]"


@pytest.fixture
def reviewed(tmp_path: Path, root: Path) -> Folder:
    """A copy of the sample book with reviews, to be spoiled."""
    shutil.copytree(root / "tests" / "plain_books" / "reviewed", tmp_path / "reviewed")
    return Folder(tmp_path / "reviewed")


def refused(run: Run, book: Folder, *more: object) -> str:
    answer = run("check", book.path, *more)
    assert answer.exit_code == 3, answer.output
    return " ".join(answer.stderr.split())


@pytest.mark.parametrize(
    ("what_if", "told"),
    [
        ("horizon.reviews=[2026-11-20, 2027-02-20]", "is not after as_of = 2026-11-20 (got '2026-11-20') remove it"),
        ("horizon.reviews=[2027-11-20]", "is not before until = 2027-11-20 (got '2027-11-20')"),
        ("horizon.reviews=[2028-01-01]", "is not before until = 2027-11-20 (got '2028-01-01')"),
        ("horizon.reviews=[2027-05-20, 2027-02-20]", "reviews must be in date order, each once sort them"),
        ("horizon.reviews=[2027-05-20, 2027-05-20]", "reviews must be in date order, each once sort them"),
        ("horizon.until=2026-11-20", "is not after as_of = 2026-11-20 (got '2026-11-20') move it ahead"),
        ("horizon.announcement_share=1.2", "must be at most 1"),
        ("horizon.announcement_share=-0.2", "must be greater than or equal to 0"),
        ("model.since=2026-12-01", "is after as_of = 2026-11-20"),
        ("mandate.objective=mixture_variance", "is not time-consistent: the variance between scenarios"),
        ("mandate.objective=return_minus_risk", "is not time-consistent: what is best at a review by it"),
        ("mandate.objective=minimum_variance", "with reviews choose 'log' or 'crra' or 'return'"),
        ("mandate.objective=crra", "must be stated with objective = 'crra', and not be 1"),
        ("scenarios.proprietary_jevons.probability=0", "leaves nothing to be wrong about"),
        ("robust.schedule=corners", "is not known at review dates"),
        ("trading.indifference_bps=2.0", "is not known with objective = 'log'"),
    ],
)
def test_a_disagreement_about_reviews_is_refused_in_its_words(
    reviewed: Folder, run: Run, what_if: str, told: str
) -> None:
    assert told in refused(run, reviewed, "--set", what_if)


def test_a_relative_risk_aversion_of_one_is_called_a_log(reviewed: Folder, run: Run) -> None:
    what_if = ("--set", "mandate.objective=crra", "--set", "mandate.relative_risk_aversion=1.0")
    assert "for 1 use objective = 'log'" in refused(run, reviewed, *what_if)


def test_a_charge_along_a_path_is_known_to_log_and_crra_alone(listed: Folder, run: Run) -> None:
    what_if = ("--set", "mandate.charge_risk=true")
    assert "mandate.charge_risk has no effect with objective = 'return_minus_risk'" in refused(run, listed, *what_if)


def test_an_error_of_returns_is_not_known_to_a_utility(reviewed: Folder, run: Run) -> None:
    what_if = ("--set", "robust.return_error=box", "--set", "robust.return_error_size=0.2")
    assert "robust.return_error is not known with objective = 'log'" in refused(run, reviewed, *what_if)


@pytest.mark.parametrize("section", ["question", "market"])
def test_reviews_without_news_or_prices_are_refused(reviewed: Folder, run: Run, section: str) -> None:
    path = reviewed.path / "book.toml"
    kept, inside = [], False
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            inside = line[1:].split("]")[0].split(".")[0] == section
        kept += [] if inside else [line]
    path.write_text("\n".join(kept), encoding="utf-8")
    said = {"question": "reviews wait for news, and there is no question", "market": "is needed with reviews: without"}
    assert said[section] in refused(run, reviewed)


def test_a_utility_knows_no_priorities_of_rules(reviewed: Folder, run: Run) -> None:
    told = refused(run, reviewed, "--set", "mandate.tiers.min_cash=1")
    said = "cannot be relaxed with objective = 'log' (got 'min_cash') remove the priorities: the rules are then hard"
    assert said in told


@pytest.mark.parametrize(
    ("old", "told"),
    [
        ("announcement_share = 0.6", "horizon.announcement_share is needed with reviews"),
        ("digestion_months = inf", "horizon.digestion_months is needed with reviews"),
        ("since = 2026-04-08", "is needed with horizon.until: else labs would begin to adopt anew each day"),
        ("until = 2027-11-20", "reviews need a horizon that stays where it is write until = the day it ends"),
    ],
)
def test_what_reviews_need_is_asked_for_by_its_key(reviewed: Folder, run: Run, old: str, told: str) -> None:
    reviewed.replace("book.toml", old, "# " + old)
    assert told in refused(run, reviewed)


def test_several_disagreements_are_told_at_once(reviewed: Folder, run: Run) -> None:
    reviewed.replace("book.toml", "announcement_share = 0.6", "")
    told = refused(
        run,
        reviewed,
        "--set",
        "horizon.reviews=[2026-01-01, 2028-01-01]",
        "--set",
        "mandate.objective=mixture_variance",
    )
    for rule in (
        "is not after as_of = 2026-11-20 (got '2026-01-01')",
        "is not before until = 2027-11-20 (got '2028-01-01')",
        "is not time-consistent: the variance between scenarios",
        "is needed with reviews: the value of deciding later depends on it",
    ):
        assert rule in told


def test_a_blank_required_return_is_refused_where_there_are_reviews(reviewed: Folder, run: Run) -> None:
    line = reviewed.cell("exposures.csv", "GPU", "required_return", "")
    told = refused(run, reviewed)
    assert f"exposures.csv:{line} required_return is needed with reviews for GPU" in told


def test_reviews_that_an_outside_date_has_passed_are_left_out(reviewed: Folder, run: Run) -> None:
    answer = run("outlook", reviewed.path, "--as-of", "2027-05-20")
    assert answer.exit_code == 0, answer.output
    assert "2027-08-20" in answer.stdout
    assert "2027-02-20" not in answer.stdout


def test_a_review_with_a_time_is_refused_and_not_compared_with_a_date(reviewed: Folder, run: Run) -> None:
    reviewed.replace("book.toml", REVIEWS, "reviews = [2027-02-20T09:00:00, 2027-05-20]")
    told = refused(run, reviewed, "--as-of", "2026-11-20")
    assert "horizon.reviews" in told
    assert "write a date as 2026-11-20, without quotes or a time" in told


def test_an_end_day_from_a_what_if_sets_months_aside(listed: Folder, run: Run) -> None:
    path = listed.path / "book.toml"
    text = path.read_text(encoding="utf-8")
    assert "months = " in text
    answer = run("check", listed.path, "--set", "horizon.until=2027-11-20")
    assert answer.exit_code == 0, answer.output
    assert "horizon.months" not in answer.stdout + answer.stderr


def test_an_end_day_beside_months_is_told_to_leave_one_unread(listed: Folder, run: Run) -> None:
    path = listed.path / "book.toml"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("months = ", "until = 2027-11-20\nmonths = "), encoding="utf-8")
    answer = run("check", listed.path)
    assert "horizon.months" in " ".join(answer.stderr.split())
    assert "until, the day that the horizon ends" in " ".join(answer.stderr.split())
