"""[stress.ranges]: what is refused, with its text, and what is read."""

from __future__ import annotations

from typing import Any

import pytest

from allocator.book.checks.stress import (
    PRIOR_OF_ANSWER,
    SHARE,
    ParameterKey,
    book_values,
    check_book_values_in_ranges,
    contract_range,
    stated_ranges,
)
from allocator.errors import BadInput
from tests.stress_testing.sample_plans import sample

TOKENS, HAZARD = ParameterKey("model", "token_reduction"), ParameterKey("question", "hazard")


def refused(*overrides: str) -> list[str]:
    with pytest.raises(BadInput) as error:
        sample("listed", *overrides)
    assert error.value.exit_code == 3
    return [str(breach) for breach in error.value.breaches]


def test_every_range_that_is_no_range_is_refused_at_once() -> None:
    said = refused(
        "stress.ranges.token_reduction=[3, 2]",
        "stress.ranges.announcement_share=[0, 1.2]",
        "stress.ranges.hazard=[0, 0.2]",
        "stress.ranges.adoption_years=[0.5, inf]",
        "stress.ranges.scenarios.generalizable_jevos.usage_elasticity=[1.0, 2.0]",
        "stress.ranges.scenarios.proprietary_jevons.pass_through=[-0.1, 0.5]",
    )
    place = "--set stress.ranges"

    assert said == [
        f"{place}.scenarios.generalizable_jevos: no such scenario (got 'generalizable_jevos'); "
        "did you mean 'generalizable_jevons'?",
        f"{place}.token_reduction: must be [lowest, highest] (got '[3, 2]'); write the lowest first: [2, 3]",
        f"{place}.adoption_years: must be two finite numbers (got '[0.5, inf]'); write for example [0.4, 1.5]",
        f"{place}.announcement_share: must be at least 0 and at most 1, at both ends (got '[0, 1.2]'); bring it inside",
        f"{place}.hazard: must be above 0 and below 10, at both ends (got '[0, 0.2]'); bring it inside",
        f"{place}.scenarios.proprietary_jevons.pass_through: must be at least 0 and at most 3, at both ends "
        "(got '[-0.1, 0.5]'); bring it inside",
    ]


def test_an_unknown_parameter_is_refused_with_what_was_meant() -> None:
    assert refused("stress.ranges.token_redution=[2, 3]") == [
        "--set stress.ranges.token_redution: unknown key; did you mean 'token_reduction'?"
    ]
    assert refused("stress.ranges.scenarios.generalizable_jevons.usage_elastcity=[1.0, 3.0]") == [
        "--set stress.ranges.scenarios.generalizable_jevons.usage_elastcity: unknown key; "
        "did you mean 'usage_elasticity'?"
    ]


def test_a_range_of_what_the_book_has_not_is_refused(listed: Any) -> None:
    from allocator.book.loading import load

    with pytest.raises(BadInput) as error:
        load(listed.path, overrides=["stress.ranges.token_reduction=[2, 3]", "stress.ranges.hazard=[0.1, 0.2]"])

    assert [breach.rule for breach in error.value.breaches] == [
        "has no effect without [model]",
        "has no effect without [question]",
    ]


def test_a_range_without_the_book_s_own_value_is_read_and_refused_when_it_is_used() -> None:
    settings = sample("listed", "stress.ranges.token_reduction=[2.0, 2.5]", "stress.ranges.hazard=[0.2, 0.3]").settings
    (own, *_) = book_values(settings, HAZARD)

    assert stated_ranges(settings) == {TOKENS: (2.0, 2.5), HAZARD: (0.2, 0.3)}
    assert [str(breach) for breach in check_book_values_in_ranges(settings)] == [
        "book.toml stress.ranges.token_reduction: does not hold the book's own 2.7 (got '[2, 2.5]'); "
        "widen it to hold that, or correct the value",
        f"book.toml stress.ranges.hazard: does not hold the book's own {own:g} (got '[0.2, 0.3]'); "
        "widen it to hold that, or correct the value",
    ]


def test_lawful_ends_are_those_of_the_contract() -> None:
    assert contract_range(ParameterKey("model", "adoption_years")) == (0, 50, True, False)
    assert contract_range(ParameterKey("scenarios", "multiple_compression", "any")) == (-3, 3, False, False)
    assert contract_range(SHARE) == (0, 1, False, False)
    assert contract_range(PRIOR_OF_ANSWER) == (0, 1, True, True)


def test_own_values_are_one_number_or_one_a_lab() -> None:
    settings = sample("listed", "question.labs.Google.hazard=0.11").settings
    assert settings.question is not None

    assert book_values(settings, TOKENS) == (2.7,)
    assert book_values(settings, HAZARD) == tuple(lab.hazard for lab in settings.question.labs.values())
    assert book_values(settings, HAZARD)[1] == 0.11
    assert book_values(settings, PRIOR_OF_ANSWER) == pytest.approx((0.82,))
    assert book_values(settings, ParameterKey("scenarios", "usage_elasticity", "proprietary_jevons")) == (1.9,)
