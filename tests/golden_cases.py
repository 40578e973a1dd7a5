"""What tests/golden.py asks of both sides: every command on the sample books, and a few on random books and trees."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Case:
    """One run of the command line. Those of a `group` run in one process, in order: some read what others wrote."""

    name: str
    group: str
    arguments: tuple[str, ...]
    keeps: str | None = None
    """The folder that the command writes, whose files are compared too."""


ONE_DECISION = ("minimum_variance", "mixture_variance", "mean_cvar", "regret", "log")
ON_EVERY_SAMPLE: tuple[tuple[str, ...], ...] = (
    ("check",), ("beliefs",), ("outlook",), ("returns",), ("returns", "--drivers", "META"),
    ("implied", "--move", "META=-0.03", "--move", "GOOGL=0.02"), ("claims",), ("explain",), ("explain", "META"),
    ("explain", "MEAT"), ("stress",), ("plugins",), ("rebalance", "--as-of", "2026-12-20"),
    ("beliefs", "--as-of", "2027-01-20"), ("check", "--as-of", "2026-01-01"), ("rebalance", "--account", "other"),
    ("rebalance", "--set", "mandate.max_wieght=0.2"), ("rebalance", "--set", "robust.set=box"),
)  # fmt: skip
MORE: dict[str, tuple[tuple[str, ...], ...]] = {
    "listed": (
        ("waiting",), ("caution",), ("frontier",), ("rebalance", "--set", "mandate.max_turnover=0.25"),
        ("rebalance", "--set", "mandate.max_turnover=0.25", "--set", "mandate.tiers={max_turnover=3}"),
        ("rebalance", "--set", "robust.return_error=box", "--set", "robust.return_error_size=0.2"),
        ("rebalance", "--set", "trading.indifference_bps=5"), ("rebalance", "--set", "trading.min_gain_bps=900"),
        ("rebalance", "--set", "lots.min_trade=400000"), ("rebalance", "--follow", "plans/reviewed/plan.json"),
        ("rebalance", "--cash", "-80000"), ("rebalance", "--cash", "+250000", "--set", "mandate.no_sales=true"),
        ("rebalance", "--set", 'mandate.eligible=["ADBE", "CRM"]'),
        ("rebalance", "--set", 'mandate.bands.NVDA={target=0.1, width=0.02, to="target"}'),
        ("rebalance", "--run-id", "without-out"), ("rebalance", "--out", "plans/none", "--export", "nothing"),
        ("implied", "--move", "META"), ("implied",), ("implied", "--move", "META=-0.03", "--without", "META"),
        ("compare", "--set", "mandate.max_weight=0.15", "--set", "costs.commission_bps=5", "--as-of", "2026-12-20"),
        ("compare", "--set", "mandate.max_turnover=0.01"), ("compare",), ("compare", "books/note"),
        ("stress", "--shock", "glut"), ("stress", "--shock", "gult"), ("stress", "--map", "3"), ("stress", "--replay"),
        *(("rebalance", "--set", f"mandate.objective={name}", "--set", "trading.min_gain_bps=0")
          for name in ONE_DECISION),
    ),
    "note": (
        ("trial", "--reduced"), ("waiting",), ("frontier", "--points", "5"), ("stress", "--model", "50"),
        ("stress", "--reverse", "15%"), ("backtest",), ("fleet", "--out", "fleets/note", "--workers", "1"),
        ("household",),
        ("stress", "--beliefs", "--within", "5"), ("stress", "--reverse", "5%", "--within", "5"),
        ("stress", "--shock", "all_silent_12_months", "--shock", "ipo_slips"), ("rebalance", "--set", "costs.impact=1"),
        ("rebalance", "--set", 'views.cloud={expected_return={instrument="CLOUD"},at_least=0.115}'),
        ("rebalance", "--set", "robust.caution=0"), ("rebalance", "--set", "mandate.min_expected_return=0.5"),
        ("rebalance", "--set", "mandate.objective=crra", "--set", "mandate.relative_risk_aversion=3"),
    ),
    "reviewed": (
        ("waiting",), ("outlook", "--as-of", "2027-03-20"), ("compare", "--as-of", "2027-03-20"),
        ("rebalance", "--set", "mandate.min_cash=0.9"), ("rebalance", "--set", "mandate.objective=mixture_variance"),
        ("rebalance", "--set", "solver.time_limit_seconds=0.000001"),
        ("trial", "--reduced", "--investors", "1", "--worlds", "1"),
    ),
}  # fmt: skip
"""Of the sample book of that name; a book that is not named here has the cases of every sample."""
OF_A_LEDGER: tuple[tuple[str, ...], ...] = (
    ("rebalance", "books/listed", "--record", "--run-id", "kept", "--out", "runs/kept"), ("history",), ("show", "kept"),
    ("replay", "kept"), ("approve", "kept", "--note", "Ann"), ("export", "kept", "--out", "runs/exported"),
    ("apply", "kept", "--book", "books/listed", "--out", "runs/applied"), ("apply", "kept", "--book", "books/listed"),
    ("verify",),
    ("rebalance", "books/listed", "--record", "--run-id", "kept", "--as-of", "2026-11-25"), ("show", "lost"),
    ("verify", "--head", "0" * 64),
)  # fmt: skip
"""In this order, of one ledger."""
OF_NONE: tuple[tuple[str, ...], ...] = (
    ("plugins",), ("schema",), ("schema", "nothing"), ("check", "books/nowhere"), ("rebalance",),
    ("check", "--nonsense"), ("import", "books/nowhere.csv"), ("init", "made/listed", "--from", "lsited"),
    ("report", "books/nowhere"), ("desk", "books/nowhere"),
)  # fmt: skip


def cases_of(samples: Sequence[str], schemas: Sequence[str], books: int, trees: int) -> list[Case]:
    """All cases, the dearest groups first."""
    found = [case for name in reversed(samples) for case in _sample(name)]
    found += [case for seed in range(trees) for case in _tree(seed)]
    found += [case for seed in range(books) for case in _book(seed)]
    found += [_case("ledger", arguments) for arguments in OF_A_LEDGER]
    found += [_case("none", arguments) for arguments in OF_NONE]
    found += [_case("none", ("schema", name)) for name in schemas]
    for name in samples:
        found.append(_case("none", ("init", f"made/{name}", "--from", name), keeps=f"made/{name}"))
    found.append(_case("none", ("init", "made/listed")))
    return found


def screens_of(cases: Sequence[Case]) -> list[Case]:
    """The same of sample books without --json, and every --help; what was written before is in the way of nobody."""
    commands = sorted({case.arguments[0] for case in cases})
    shown = [case for case in cases if case.group.startswith("sample ") and case.keeps is None]
    return [
        *(Case(f"{case.name} (screen)", case.group, case.arguments[:-1]) for case in shown),
        *(Case(f"{name} --help", "none", (name, "--help")) for name in commands),
        Case("--help", "none", ("--help",)),
    ]


def _case(group: str, arguments: tuple[str, ...], book: str | None = None, keeps: str | None = None) -> Case:
    """One case with --json, the book after its command; its name is what one would type."""
    own = () if book is None else (f"books/{book}",)
    whole = (*arguments[:1], *own, *arguments[1:], "--json")
    return Case(" ".join(whole[:-1]), group, whole, keeps)


def _sample(name: str) -> Iterator[Case]:
    group, plans = f"sample {name}", f"plans/{name}"
    yield _case(group, ("rebalance", "--out", plans), name, plans)
    for arguments in (*ON_EVERY_SAMPLE, *MORE.get(name, ())):
        yield _case(group, arguments, name)
    later = ("rebalance", "--as-of", "2027-02-20", "--follow", f"{plans}/plan.json")
    if name == "reviewed":
        yield _case(group, later, name)
    page = f"pages/{name}"
    yield Case(f"report {name}", group, ("report", f"{plans}/plan.json", "--out", f"{page}/page.html", "--json"), page)
    run = ("rebalance", "--out", f"runs/{name}", "--run-id", "one")
    yield _case(group, run, name, f"runs/{name}")
    again = _case(group, run, name)
    yield Case(f"{again.name} (again)", group, again.arguments)
    yield _case(group, (*run, "--as-of", "2026-11-25"), name)


def _book(seed: int) -> Iterator[Case]:
    group = name = f"random-{seed}"
    yield _case(group, ("check",), name)
    yield _case(group, ("rebalance", "--out", f"plans/{name}"), name, f"plans/{name}")
    if seed % 3 == 0:
        yield _case(group, ("explain",), name)
    if seed % 10 == 1:
        yield _case(group, ("stress",), name)
    if seed % 10 == 2:
        yield _case(group, ("explain", "N00"), name)


def _tree(seed: int) -> Iterator[Case]:
    group = name = f"tree-{seed}"
    yield _case(group, ("check",), name)
    yield _case(group, ("outlook",), name)
    yield _case(group, ("rebalance", "--out", f"plans/{name}"), name, f"plans/{name}")
    if seed % 4 == 0:
        yield _case(group, ("waiting", "--share", "0.3") if seed == 4 else ("waiting",), name)
    if seed == 1:
        yield _case(group, ("stress", "--reverse", "10%"), name)
