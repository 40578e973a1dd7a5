"""The signed checks of the note as rows of claims.csv: what is asked of a book's outlook, and what the note says."""

from __future__ import annotations

from dataclasses import dataclass

G, P = "generalizable", "proprietary"
SCENARIOS = {
    "GJ": "generalizable_jevons", "GC": "generalizable_compression",
    "PJ": "proprietary_jevons", "PC": "proprietary_compression",
}  # fmt: skip
ADVICE = (
    ("weight_slope(efficiency)", 0.10, None),
    ("weight_step(efficiency)", -1e-4, None),
    ("weight_slope(capital_intensity)", None, -0.20),
    ("weight_step(capital_intensity)", None, 1e-4),
    ("weight_slope(efficiency, costs)", 0.08, None),
    ("weight_step(efficiency, costs)", -0.01, None),
    ("weight_slope(capital_intensity, costs)", None, -0.05),
    ("weight_step(capital_intensity, costs)", None, 0.01),
)
"""The advice: what is asked, and the least and the most that the note's advice allows."""


@dataclass(frozen=True)
class SignedCheck:
    """What is asked, the least and the most that is stated, and of which day; both where that makes no difference."""

    check: str
    low: float | None
    high: float | None
    days: tuple[str, ...] = ("at the opening", "today")


def _asked(formula: str, case: str) -> tuple[str, float | None, float | None]:
    name, word = case.split(maxsplit=1)[0], SCENARIOS.get(case.rsplit(maxsplit=1)[-1], "")
    name = {"SPX": "SPX_XAI"}.get(name, name)
    other = name.removeprefix("EFFLAB-").removeprefix("EFFLAB/")
    gj, gc = SCENARIOS["GJ"], SCENARIOS["GC"]
    by_formula: dict[str, tuple[str, float | None, float | None]] = {
        "1-E[V|G]": (f"value_given({name}, {G})", None, 1),
        "E[V|P]-E[V|G]": (f"value_gap({name}, {P}, {G})", 0, None),
        "E[V|G]-E[V|P]": (f"value_gap({name}, {G}, {P})", 0, None),
        "E[V|P]-1": (f"value_given({name}, {P})", 1, None),
        "E[V_META|P]-E[V_OPENAI|P]": (f"value_lead(META, OPENAI, {P})", 0, None),
        "E[V_META|P]-E[V_SPX|P]": (f"value_lead(META, SPX_XAI, {P})", 0, None),
        "1-max M_T": (f"training_spend({G})", None, 1),
        "min P_P-max P_G": (f"price_gap({P}, {G})", 0, None),
        "D_GJ-1": (f"compute_demand({gj})", 1, None),
        "rho*d(E-C)+c*dl": (f"multiple_gap(EFFLAB, {other}, {word})".replace(" multiple", ""), 0, None),
        "V_EFFLAB-V_n": (f"value_lead(EFFLAB, {other}, {word})", 0, None),
        "V(X=1)-V(X=10)": (f"with_training_reduction({name}, 1, {word})", 0, None),
        "m0-margin": (f"margin_of_rivals({word})", None, 0),
        "-sigma": (f"stranded({word})", None, 0),
        "V_GJ-1": (f"value_given({name}, {gj})", 1, None),
        "V_GJ-V_GC": (f"value_gap({name}, {gj}, {gc})", 0, None),
        "1-V_GC": (f"value_given({name}, {gc})", None, 1),
        "Q-5": (f"usage_once_adopted({gj})", 5, None),
        "M_C-1": (f"inference_demand({gj})", 1, None),
        "1.1-Rev": (f"market_revenue({gc})", None, 1.1),
        "sigma": (f"stranded({gc})", 0, None),
        "V_OPENAI-V_SPX": (f"value_lead(OPENAI, SPX_XAI, {gc})", 0, None),
        "min": (f"price_cut({gj})", 0.3, 0.5),
    }
    return by_formula[formula]


def signed_check(formula: str, case: str) -> SignedCheck:
    """A row of the list of signed checks, as it is asked of the book's outlook."""
    day = {"today": ("today",), "opening": ("at the opening",)}.get(case.rsplit(maxsplit=1)[-1])
    return SignedCheck(*_asked(formula, case), *(() if day is None else (day,)))
