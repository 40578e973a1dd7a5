"""Charts say what the documents say, fit the width that was asked, and are safe whatever a book calls its names."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from jsonschema import Draft202012Validator

from allocator.errors import printable
from allocator.reporting import belief_charts, plan_charts, return_charts, stress_charts
from allocator.reporting.charts import (
    HEAT,
    PERCENT,
    Series,
    Spec,
    grouped_bars,
    heading_lines,
    spread,
    text_width,
    ticks_between,
    tree_order,
)
from allocator.reporting.drawings import DARK, FILE, LIGHT, PAGE, picture_svg, svg
from allocator.reporting.pictures import CHARTS, picture
from tests.reporting import documents

Chart = Callable[..., Spec | None]
FAMILIES: tuple[tuple[dict[str, Any], tuple[Chart, ...]], ...] = (
    (documents.plan(), (
        plan_charts.weights_by_bucket, plan_charts.weights_by_instrument, plan_charts.targets_and_no_trade,
        plan_charts.returns_per_scenario, plan_charts.expected_return_parts, plan_charts.order_attribution,
        plan_charts.limits_used, plan_charts.caution_release, plan_charts.risk_by_instrument,
    )),
    (documents.beliefs(), (
        belief_charts.beliefs_through_time, belief_charts.prior_market_and_belief,
        belief_charts.beliefs_after_next_signals,
    )),
    (documents.outlook(), (belief_charts.prices_by_node, belief_charts.beliefs_by_node)),
    (documents.returns(), (return_charts.returns_by_scenario, return_charts.drivers_of_expected_return)),
    (documents.stress(), (
        stress_charts.shocks_by_loss, stress_charts.contributions_of_the_worst, stress_charts.optimum_over_beliefs,
        stress_charts.sweep_weights, stress_charts.sweep_objective, stress_charts.model_draws,
        stress_charts.sampled_weights, stress_charts.plausibility_of_loss, stress_charts.replayed_losses,
    )),
)  # fmt: skip
EVERY = [(document, chart) for document, charts in FAMILIES for chart in charts]


def marks(spec: Spec | None) -> list[dict[str, Any]]:
    """The data of all layers of a chart."""
    assert spec is not None
    return [mark for layer in spec["layer"] for mark in layer["data"]["values"]]


@pytest.fixture(scope="module")
def drawn() -> dict[tuple[str, int], str]:
    """Every chart about wicked names, at a page's and at a phone's width."""
    found = {}
    for document, chart in EVERY:
        for width in (720, 340):
            spec = chart(document, width=width)
            assert spec is not None, chart.__name__
            found[chart.__name__, width] = svg(spec, PAGE)
    return found


def test_every_chart_is_as_wide_as_asked_or_less(drawn: Mapping[tuple[str, int], str]) -> None:
    wide = {key: float(ElementTree.fromstring(text).attrib["viewBox"].split()[2]) for key, text in drawn.items()}

    assert {key: width for key, width in wide.items() if width > key[1]} == {}
    assert {key for key, width in wide.items() if width < key[1] - 40} <= {("optimum_over_beliefs", 720)}


def test_no_chart_holds_a_script_an_address_or_an_id_of_another(drawn: Mapping[tuple[str, int], str]) -> None:
    ids: list[str] = []
    for text in drawn.values():
        root = ElementTree.fromstring(text)
        assert {element.tag.rpartition("}")[2] for element in root.iter()} <= {
            "svg", "g", "path", "rect", "line", "text", "tspan",
        }  # fmt: skip
        for element in root.iter():
            assert not any(name.endswith(("href", "src")) or name.startswith("on") for name in element.attrib)
            assert not any("url(" in value and "url(#c" not in value for value in element.attrib.values())
            ids += [value for name, value in element.attrib.items() if name == "id"]
        assert re.findall(r"https?://[^\"]*", text) == ["http://www.w3.org/2000/svg"]
        assert "<script" not in text
    assert len(ids) == len(set(ids))


def test_on_a_page_every_colour_is_the_pages_own(drawn: Mapping[tuple[str, int], str]) -> None:
    own = re.compile(r"var\(--([a-z]+(-\d)?)\)|currentColor|none|transparent")
    for text in drawn.values():
        for element in ElementTree.fromstring(text).iter():
            for name in ("fill", "stroke"):
                assert own.fullmatch(element.get(name, "none")), element.attrib


def test_names_are_shown_as_they_are_or_cut_short(drawn: Mapping[tuple[str, int], str]) -> None:
    for width in (720, 340):
        root = ElementTree.fromstring(drawn["weights_by_instrument", width])
        texts = {element.text for element in root.iter() if element.text}
        for name in documents.WICKED:
            shown = printable(name)
            assert any(shown == text or (text.endswith("…") and shown.startswith(text[:-1])) for text in texts), name


def test_a_file_has_colours_of_its_own_and_data_names_none() -> None:
    text = svg(plan_charts.weights_by_instrument(documents.plan(), width=720) or {}, FILE)

    assert ">var(--after)<" in text
    assert "var(--" not in text.replace(">var(--after)<", "")
    assert "currentColor" not in text
    assert FILE["after"] in text


def test_a_drawing_says_what_it_is_to_who_cannot_see_it() -> None:
    spec = plan_charts.weights_by_bucket(documents.plan(), width=340)

    root = ElementTree.fromstring(svg(spec or {}, PAGE, label='Weights of "A" & <B>'))
    assert (root.get("role"), root.get("aria-label")) == ("img", 'Weights of "A" & <B>')


def contrast(one: str, two: str) -> float:
    """The contrast ratio of the accessibility guidelines (WCAG 2.2)."""

    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    low, high = sorted((luminance(one), luminance(two)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("colours", [LIGHT, DARK], ids=["light", "dark"])
def test_texts_and_marks_stand_out_by_day_and_by_night(colours: Mapping[str, str]) -> None:
    paper = colours["paper"]
    assert set(colours) == set(PAGE)
    for name, colour in colours.items():
        if name.startswith("heat"):
            assert contrast(colours["text"], colour) >= 4.5, name
        elif name in ("text", "muted") or name.startswith("series"):
            assert contrast(paper, colour) >= 4.5, name
        elif name not in ("paper", "grid", "band"):
            assert contrast(paper, colour) >= 3, name
    assert contrast(colours["before"], colours["after"]) >= 1.5  # told apart by shade, not by colour alone


def test_weights_in_the_chart_are_the_weights_of_the_plan() -> None:
    plan = documents.plan()
    shown = {(mark["name"], mark["series"]): mark["value"] for mark in
             marks(plan_charts.weights_by_instrument(plan, width=720)) if "series" in mark}  # fmt: skip

    assert shown == {
        (row["instrument"], series): row[key]
        for row in plan["positions"]
        for series, key in (("current", "weight_before"), ("proposed", "weight_after"))
    }
    buckets = [mark for mark in marks(plan_charts.weights_by_bucket(plan, width=720)) if "series" in mark]
    assert [(mark["series"], mark["value"]) for mark in buckets if mark["name"] == "cash" and "text" not in mark] == [
        ("current", 0.6), ("proposed", 0.55),
    ]  # fmt: skip
    assert "unused" not in {mark.get("name") for mark in buckets}


def test_of_five_hundred_names_the_largest_changes_are_shown_and_the_rest_summed() -> None:
    plan = documents.plan(tuple(f"N{i:03}" for i in range(500)))
    spec = plan_charts.weights_by_instrument(plan, width=720)
    bars = [mark for mark in marks(spec) if "series" in mark and "text" not in mark]

    assert {mark["name"] for mark in bars} == {
        *(f"N{i:03}" for i in range(10)), *(f"N{i:03}" for i in range(490, 500)), "480 others",
    }  # fmt: skip
    for series in ("current", "proposed"):
        assert sum(mark["value"] for mark in bars if mark["series"] == series) == pytest.approx(1, abs=1e-12)
    assert len(json.dumps(spec)) < 40_000


def test_a_limits_bar_says_how_much_of_it_is_used_and_its_colour_how_near() -> None:
    spec = plan_charts.limits_used(documents.plan(), width=720) or {}
    used = {
        mark["name"]: (mark["use"], layer["mark"]["color"])
        for layer in spec["layer"]
        if layer["mark"]["type"] == "bar"
        for mark in layer["data"]["values"]
    }

    assert {name: colour for name, (_, colour) in used.items()} == {
        "over": "var(--breach)", "full": "var(--amber)", "near": "var(--amber)", "far": "var(--good)",
        "nothing": "var(--breach)",  # of a limit of 0 no use is known, but that it is broken
    }  # fmt: skip
    assert [used[name][0] for name in ("over", "full", "near", "far")] == pytest.approx([1.2, 1.0, 0.95, 0.5])


def test_parts_are_laid_end_to_end_and_their_sum_is_told() -> None:
    returns = documents.returns(("A", "B", "C"), ("up", "down"))
    told = marks(return_charts.drivers_of_expected_return(returns, width=720))

    parts = [(mark["part"], mark["start"], mark["value"]) for mark in told if mark.get("name") == "A"]
    assert parts == [("required", 0.0, 0.05), ("news", 0.0, -0.02)]
    assert [mark["total"] for mark in told if "total" in mark] == pytest.approx([0.03, 0.03])
    assert "C" not in {mark.get("text") for mark in told}


def test_the_tree_is_read_from_its_root_and_costs_stand_beside_their_nodes() -> None:
    policy = documents.plan()["policy"]
    bars = {mark["name"]: mark["value"] for mark in marks(plan_charts.caution_release(documents.plan(), width=340))
            if "name" in mark}  # fmt: skip

    assert tree_order([node["parent"] for node in policy["nodes"]]) == ([0, 1, 3, 4, 2], [0, 1, 1, 2, 2])
    assert bars == {row["node"]: row["cost_of_robustness_bps"] for row in policy["caution_schedule"]}


def test_a_node_without_a_radius_or_a_cost_says_what_it_has() -> None:
    plan = documents.plan()
    rows = plan["policy"]["caution_schedule"]
    plan["policy"]["caution_schedule"] = [
        row | dict.fromkeys(("radius", "cost_of_robustness_bps")[:i]) for i, row in enumerate(rows[:3])
    ] + rows[3:]
    texts = [mark["text"] for mark in marks(plan_charts.caution_release(plan, width=720)) if "start" in mark
             and "text" in mark]  # fmt: skip

    assert {"8.0 bps · radius 0.000 · probability 50.0%", "7.0 bps · probability 50.0%", "probability 50.0%"} < {*texts}


def test_the_map_has_a_shade_for_every_point_that_was_solved() -> None:
    stress = documents.stress()
    spec = stress_charts.optimum_over_beliefs(stress, width=720) or {}
    runs = [mark for layer in spec["layer"] if layer["mark"]["type"] == "rect" for mark in layer["data"]["values"]]

    assert sum(round((run["x1"] - run["x0"]) * 8) for run in runs) == 80  # of 81 points one failed
    numbers = [mark for mark in marks(spec) if "value" in mark]
    assert numbers
    assert all(mark["value"] == mark["x0"] - mark["y0"] for mark in numbers)
    weights = stress_charts.optimum_over_beliefs(stress, width=340, of=documents.WICKED[2])
    assert all(mark["value"] == mark["x0"] for mark in marks(weights) if "value" in mark)


def test_a_map_of_gains_alone_has_no_shade_of_a_loss() -> None:
    stress = documents.stress()
    points = [point | {"objective": 0.02 + 0.01 * point["at"][0]} for point in stress["map"]["points"]]
    for sign, shades in ((1, HEAT[4:]), (-1, HEAT[:3])):
        turned = [point | {"objective": sign * point["objective"]} for point in points]
        spec = stress_charts.optimum_over_beliefs(stress | {"map": stress["map"] | {"points": turned}}, width=720) or {}
        shown = {layer["mark"]["color"] for layer in spec["layer"] if layer["mark"]["type"] == "rect"}
        assert shown <= set(shades)


@pytest.mark.parametrize("values", [(-0.19, -0.86), (0.0, 0.0), (0.2, -0.1)])
@pytest.mark.parametrize("width", [720, 340])
def test_the_axis_has_its_zero_and_no_number_twice(values: tuple[float, ...], width: int) -> None:
    spec = grouped_bars(["A", "B"], [Series("s", HEAT[0], values)], width, PERCENT)
    shown = next(layer["encoding"]["x"]["axis"]["values"] for layer in spec["layer"])

    assert 0.0 in shown
    assert len({f"{tick:.2%}" for tick in shown}) == len(shown) > 1


def test_what_each_name_adds_is_of_the_shock_that_costs_most() -> None:
    told = marks(stress_charts.contributions_of_the_worst(documents.stress(("A", "B")), width=720))

    assert {(mark["name"], mark["value"]) for mark in told if "series" in mark} == {("A", -0.005), ("B", -0.01)}


def test_a_quantile_that_is_missing_leaves_out_its_row_alone() -> None:
    told = marks(stress_charts.model_draws(documents.stress(), width=720))

    assert {(mark["start"], mark["value"]) for mark in told if "name" in mark and "start" in mark} == {
        (-0.1, 0.2), (-0.02, 0.03), (0.01, 0.01),
    }  # fmt: skip


def nothing_to_say() -> Iterator[tuple[Chart, dict[str, Any]]]:
    """Each chart with a document that has nothing for it."""
    bare: dict[str, Any] = {
        "positions": [], "scenarios": [], "rules": [], "attribution": None, "policy": None,
        "figures": {when: {"buckets": {}} for when in ("before", "after")},
        "risk": {"after": {"tails": [], "positions": []}},
    }  # fmt: skip
    none = dict.fromkeys(("shocks", "reverse", "replay", "beliefs", "map", "model"))
    empty = {"path": [], "scenarios": [], "next": [], "hypotheses": {}, "signals": []}
    bare_documents: tuple[dict[str, Any], ...] = (
        bare, empty, {"nodes": []}, {"scenarios": {}, "instruments": []}, none,
    )  # fmt: skip
    for (_, charts), document in zip(FAMILIES, bare_documents, strict=True):
        for chart in charts:
            yield chart, document


@pytest.mark.parametrize(("chart", "document"), list(nothing_to_say()), ids=lambda one: getattr(one, "__name__", ""))
def test_a_chart_with_nothing_to_say_is_left_out(chart: Chart, document: dict[str, Any]) -> None:
    assert chart(document, width=720) is None


def test_no_price_is_drawn_where_nothing_is_reviewed() -> None:
    assert belief_charts.prices_by_node(documents.outlook(reviews=False), width=720) is None
    assert belief_charts.beliefs_by_node(documents.outlook(reviews=False), width=720) is not None


@pytest.mark.parametrize("part", ["positions", "scenarios", "rules", "attribution", "risk"])
def test_the_documents_of_these_tests_are_those_of_the_schema(root: Path, part: str) -> None:
    schema = json.loads((root / "schemas" / "plan.schema.json").read_text(encoding="utf-8"))
    schema |= {"required": [part], "additionalProperties": True, "properties": {part: schema["properties"][part]}}

    Draft202012Validator(schema).validate({part: documents.plan()[part]})
    assert set(documents.plan()) <= set(json.loads((root / "schemas" / "plan.schema.json").read_text())["properties"])


def test_every_format_with_a_picture_is_that_of_a_schema(root: Path) -> None:
    formats = {
        json.loads(path.read_text(encoding="utf-8"))["properties"]["format"]["const"].partition("/")[0]
        for path in (root / "schemas").glob("*.schema.json")
        if '"allocator.' in path.read_text(encoding="utf-8")
        and "const" in json.loads(path.read_text(encoding="utf-8"))["properties"].get("format", {})
    }

    assert set(CHARTS) <= formats


def test_a_picture_has_three_charts_at_most_and_says_of_which_book() -> None:
    shown = picture(documents.stress(("A", "B")))
    root = ElementTree.fromstring(picture_svg(shown))
    texts = [element.text for element in root.iter() if element.text]

    assert len(shown.charts) == 3
    assert texts[-4:] == ["Stress · b", *(title for title, _ in shown.charts)]
    assert float(root.attrib["viewBox"].split()[2]) <= 752


def test_places_are_spread_in_their_order_and_within_bounds() -> None:
    assert spread([5, 5.5, 40], 14, 0, 100) == [5, 19, 40]
    assert spread([99, 98], 14, 0, 100) == [100, 86]
    assert spread([1, 0, 2], 14, 0, 28) == pytest.approx([14, 0, 28])


def test_ticks_are_round_numbers_and_headings_break_at_words() -> None:
    assert ticks_between(-0.21, 0.33, 6) == [-0.2, -0.1, 0.0, 0.1, 0.2, 0.3]
    assert ticks_between(0, 0.0001, 4) == [0.0, 2.5e-05, 5e-05, 7.5e-05, 0.0001]
    assert heading_lines("generalizable_jevons", 70) == ["generalizable", "jevons"]
    assert text_width("WW") > text_width("ii")
