"""What a shock speaks of must be there; every breach with its key, and all of them at once."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from allocator.book.loading import load
from allocator.errors import BadInput
from tests.books import book


def refused(root: Path, *overrides: str, book: str = "note") -> list[str]:
    with pytest.raises(BadInput) as caught:
        load(root / "tests" / "plain_books" / book, overrides=list(overrides))
    return [f"{one.column}: {one.rule} (got {one.value}); {one.cure}" for one in caught.value.breaches]


@pytest.mark.parametrize(
    ("added", "told"),
    [
        ("buckets={eficiency=-0.1}", "shocks.it.buckets.eficiency: no such bucket (got eficiency); did you mean 'eff"),
        ("buckets={cash=-0.1}", "shocks.it.buckets.cash: cash does not move (got cash); remove it"),
        ("instruments={METAS=-0.1}", "shocks.it.instruments.METAS: no such instrument in exposures.csv (got METAS)"),
        ("instruments={USD=-0.1}", "shocks.it.instruments.USD: cash does not move (got USD); remove it"),
        ("instruments={META=-10}", "shocks.it.instruments.META: "),
        ("factors={oil=-0.1}", "shocks.it.factors.oil: no such factor in factors.csv (got oil); add factors.csv"),
        (
            'signals=[{kind="claim",source="OpenAi"}]',
            "shocks.it.signals.source: no such source in [question.sources] or [question.labs] (got OpenAi)",
        ),
        (
            'signals=[{kind="verification",source="OpenAI"}]',
            "shocks.it.signals.kind: OpenAI has claimed nothing by 2026-11-21 (got verification)",
        ),
        (
            'signals=[{kind="usage",source="x",price_fall=0.2}]',
            "shocks.it.signals.usage_growth: is needed for a usage figure",
        ),
        ('signals=[{kind="clam",source="OpenAI"}]', "shocks.it.signals.0.kind: must be one of 'claim', 'verification'"),
        ("silent_months=0", "shocks.it.silent_months: must be greater than 0"),
        (
            "model={token_reductions=2}",
            "shocks.it.model.token_reductions: unknown key (got 2.0); did you mean",
        ),
        ("model={token_reduction=0.5}", "shocks.it.model.token_reduction: must be greater than or equal to 1"),
        (
            "scenarios={every={usage_elastcity=1}}",
            "shocks.it.scenarios.every.usage_elastcity: is no parameter that a shock changes (got usage_elastcity);",
        ),
        ("scenarios={every={probability=1}}", "shocks.it.scenarios.every.probability: is no parameter that a shock"),
        ("scenarios={proprietary={capacity=1}}", "shocks.it.scenarios.proprietary: no such scenario (got proprietary)"),
        (
            "scenarios={every={replicability=2}}",
            "shocks.it.scenarios.generalizable_jevons.replicability: must be at most 1",
        ),
        ("multiples=3.1", "shocks.it.multiples: must be at most 3"),
        ('market=-0.1, expect={METAS="falls"}', "shocks.it.expect.METAS: no such instrument, bucket or group"),
        ('market=-0.1, expect={META="fall"}', "shocks.it.expect.META: must be one of 'gains', 'falls' or 'stays'"),
        ('market=-0.1, expect={neutral="falls"}', "shocks.it.expect.neutral: nothing in this book has this label"),
        ("markt=-0.1", "shocks.it.markt: unknown key (got -0.1); did you mean 'market'?"),
        ("correlation=1.01", "shocks.it.correlation: must be at most 1 (got 1.01)"),
        ("correlation=-0.1", "shocks.it.correlation: must be greater than or equal to 0 (got -0.1)"),
        ("beta_times=-1", "shocks.it.beta_times: must be greater than or equal to 0 (got -1)"),
        ("idiosyncratic_times=11", "shocks.it.idiosyncratic_times: must be at most 10 (got 11)"),
        ("spread_times=-3", "shocks.it.spread_times: must be greater than or equal to 0 (got -3)"),
        ("unsold=0.3", "shocks.it.unsold: must be at most 0 (got 0.3)"),
        ("unsold=-1.5", "shocks.it.unsold: must be greater than or equal to -1 (got -1.5)"),
        ('combine=["markt_down_20"]', "shocks.it.combine: no such shock of [shocks] or data/shocks.toml (got markt"),
        ('combine=["it","market_down_20"]', "shocks.it.combine: comes back to the shock itself (got it); take it out"),
        ('combine=["crash","crash"]', "shocks.it.combine: is named twice (got crash); name it once"),
        (
            'combine=["saving_passed_on","token_price_halves"]',
            "shocks.it.combine: scenarios.every.pass_through is 1 of 'saving_passed_on' and 0.698 of 'token_price_hal",
        ),
        ("note='x'", "shocks.it: moves nothing (got None); state what it moves, such as market, buckets"),
    ],
)
def test_a_wrong_shock_is_refused_with_key_value_and_cure(root: Path, added: str, told: str) -> None:
    assert any(line.startswith(told) for line in refused(root, f"shocks.it={{{added}}}")), refused(
        root, f"shocks.it={{{added}}}"
    )


def test_all_that_is_wrong_is_told_at_once(root: Path) -> None:
    told = refused(
        root,
        'shocks.a={market=-0.1,expect={X="falls"}}',
        "shocks.b={factors={oil=1.0}}",
        "shocks.c={scenarios={every={g=1}}}",
    )
    assert [line.partition(":")[0] for line in told] == [
        "shocks.a.expect.X",
        "shocks.b.factors.oil",
        "shocks.c.scenarios.every.g",
    ]


def test_shocks_that_combine_each_other_are_refused_and_what_they_combine_is_held_to_the_book(root: Path) -> None:
    circle = ('a={combine=["b"]}', 'b={market=-0.1,combine=["c"]}', 'c={combine=["a"]}')
    around = refused(root, *(f"shocks.{one}" for one in circle))
    assert [line.partition(";")[0] for line in around] == [
        f"shocks.{name}.combine: comes back to the shock itself (got {name})" for name in "abc"
    ]
    with pytest.raises(BadInput) as caught:
        book({"shocks": {"it": {"combine": ["all_silent_12_months"]}, "no": {"correlation": 0.5}},
              "risk": {"source": "none"}})  # fmt: skip
    assert [f"{one.column}: {one.rule}" for one in caught.value.breaches] == [
        "shocks.it: tells something about a question, and there is no [question]",
        "shocks.no: changes risk within scenarios, and this book has none",
    ]


@pytest.mark.parametrize(
    "moves",
    [
        "spread_times=2",
        "market=-0.1,unsold=-0.3",
        "correlation=1",
        "silent_months=12",
        "model={salvage=0.0}",
        "market=-0.1,model={salvage=0.1}",
    ],
)
def test_a_limit_on_stress_losses_stands_on_a_shock_of_prices_alone(root: Path, moves: str) -> None:
    told = refused(root, f"shocks.it={{{moves}}}", "mandate.max_stress_loss.it=0.2")
    assert told == [
        "mandate.max_stress_loss.it: is a limit on what prices lose at once, and this shock does not move prices only "
        "(got it); state a shock of market, factors, multiples, buckets or instruments alone"
    ]


def test_a_shock_of_what_is_learnt_wants_a_question_and_one_of_the_model_a_model() -> None:
    with pytest.raises(BadInput) as caught:
        book(
            {
                "shocks": {
                    "a": {"silent_months": 3.0},
                    "b": {"model": {"salvage": 0.1}},
                    "c": {"delay_months": 3.0},
                    "d": {"multiples": 0.1},
                }
            }
        )
    assert [f"{one.column}: {one.rule}" for one in caught.value.breaches] == [
        "shocks.a: tells something about a question, and there is no [question]",
        "shocks.b: changes the efficiency model, and there is no [model]",
        "shocks.c.delay_months: nothing in this book has a tradable_from",
        "multiple_loading: shocks.d.multiples needs it",
    ]


def test_a_lawful_shock_of_every_kind_is_read(root: Path) -> None:
    made = load(
        root / "tests" / "plain_books" / "note",
        overrides=[
            "shocks.it={market=-0.1,buckets={adopter=-0.2},instruments={META=0.1},silent_months=6,"
            'signals=[{kind="claim",source="OpenAI",after_months=1},{kind="refutation",source="OpenAI",after_months=2}],'
            'model={salvage=0.1},scenarios={every={capacity=1.1}},multiples=0.1,delay_months=6,expect={META="gains"}}'
        ],
    )
    assert made.settings.shocks["it"].tells
    assert made.settings.shocks["it"].changes_model


def test_a_claim_by_every_lab_where_every_lab_has_claimed_is_refused(root: Path, tmp_path: Path) -> None:
    folder = tmp_path / "note"
    shutil.copytree(root / "tests" / "plain_books" / "note", folder)
    with (folder / "signals.csv").open("a", encoding="utf-8") as table:
        table.write(
            "2026-11-01,claim,OpenAI,,,a test\n2026-11-02,claim,Google,,,a test\n2026-11-03,claim,Anthropic,,,a test\n"
        )
    with pytest.raises(BadInput, match="every lab has claimed already"):
        load(folder, overrides=['shocks.it={signals=[{kind="claim",source="every lab"}]}'])
