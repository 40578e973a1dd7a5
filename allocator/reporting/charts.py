"""What charts are made of: rows of bars, grids of cells, lines. Each gives a Vega-Lite spec with its data inline.

Places are said in pixels here and nothing is left to chance: names stand left of their marks, above them where the
chart is narrow, and the ends of the axis leave room for the numbers. A colour is the name of one, `var(--after)`; what
it is, a page or a file says. Names of a book are data and never keys of a spec.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple, TypeAlias

from allocator.errors import printable

Spec: TypeAlias = dict[str, Any]
Marks: TypeAlias = list[dict[str, Any]]
NARROW = 480
"""Pixels below which names stand above their marks."""
MOST = 20
"""Rows of a chart; what is left is summed, or counted."""
FONT = 12
_BAR, _GAP, _NAME, _KEY = 14, 8, 17, 22
TEXT, MUTED = "var(--text)", "var(--muted)"
BEFORE, AFTER = "var(--before)", "var(--after)"
GOOD, AMBER, BREACH, BAND = "var(--good)", "var(--amber)", "var(--breach)", "var(--band)"
SERIES = tuple(f"var(--series-{i})" for i in range(1, 7))
HEAT = tuple(f"var(--heat-{i})" for i in range(1, 8))
"""From a loss to a gain, the fourth for what is near 0."""


class Unit(NamedTuple):
    """How numbers are read: on an axis, by d3, and beside a mark."""

    axis: str
    text: Callable[[float], str]


def _minus(text: str) -> str:
    return text.replace("-", "−")


PERCENT = Unit(".2~%", lambda number: _minus(f"{number:z.1%}"))
BPS = Unit(",.2~f", lambda number: _minus(f"{number:z,.1f}" if abs(number) < 10 else f"{number:z,.0f}"))


class Series(NamedTuple):
    """A kind of mark: what it is called, its colour, and its number in each row, None where it has none."""

    name: str
    colour: str
    values: Sequence[float | None]


def largest(names: Sequence[str], sizes: Sequence[float], most: int = MOST) -> tuple[list[int], list[int]]:
    """Where the largest are, by size, and where the others are; one other more is shown rather than called others."""
    order = sorted(range(len(names)), key=lambda i: -abs(sizes[i]))
    return (order, []) if len(order) <= most + 1 else (order[:most], order[most:])


def text_width(text: str) -> float:
    """Pixels that a text takes at most in any sans-serif face of the usual size."""
    return sum(13.0 if ord(letter) > 0x2E7F else 8.8 if letter in _WIDE else 6.5 for letter in text)


_WIDE = frozenset("ABCDEFGHKLMNOPQRSTUVWXYZ%mw@&_…—+=")


def cut(text: str, width: float) -> str:
    """As much of a text as these pixels hold; done here, as measuring is what drawing spends its time on."""
    text = printable(text)
    if text_width(text) <= width:
        return text
    kept, room = 0, width - text_width("…")
    while kept < len(text) and (room := room - text_width(text[kept])) >= 0:
        kept += 1
    return text[:kept].rstrip() + "…"


def ticks_between(low: float, high: float, most: int) -> list[float]:
    """Round numbers between two, at most so many and one more."""
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * 0.999)
    return [round(i * step, 12) for i in range(math.ceil(low / step), math.floor(high / step) + 1)]


def layer(mark: dict[str, Any], values: Marks, **channels: Any) -> Spec:
    """Marks of one kind with data of their own."""
    return {"mark": mark, "data": {"values": values}, "encoding": channels}


def _pixels(height: float) -> dict[str, Any]:
    return {"domain": [0, height], "range": [0, height], "nice": False, "zero": False, "reverse": False}


class Rows:
    """Rows with names, over one axis of numbers: bars, dots, bands and texts are laid on them.

    `lines` is how many marks stand under each other in a row, `numbers` all that the axis has to reach, `room` the
    letters of the longest text beside a mark, `dots` whether marks reach beyond their number. `indents` are where names
    begin, of a tree; `notes` stand under names.
    """

    def __init__(
        self,
        names: Sequence[str],
        width: int,
        numbers: Iterable[float | None],
        unit: Unit,
        *,
        lines: int = 1,
        room: int = 8,
        dots: bool = False,
        indents: Sequence[float] | None = None,
        notes: Sequence[str] | None = None,
        title: str = "",
        left: float | None = None,
    ) -> None:
        self.notes = notes or [""] * len(names)
        self.names, self.width, self.unit, self.title = names, width, unit, title
        self.narrow, self.indents = width < NARROW, indents or [0.0] * len(names)
        longest = max(map(text_width, [*names, *self.notes]), default=0.0) + max(self.indents, default=0.0) + 12
        named = 7.0 if self.narrow and dots else 1.0 if self.narrow else min(longest, 0.45 * width, 320.0)
        self.left = named if left is None else left
        self.pitch = lines * _BAR + _GAP + self.narrow * _NAME
        self.top, self.layers = 0.0, list[Spec]()
        told = [number for number in numbers if number is not None]
        low, high = min([0.0, *told]), max([0.0, *told])
        high = high if high > low else low + 1.0
        text, self.right = room * 7.2 + 4, width - 3.0
        below = text * (low < 0)
        above = text if any(number >= 0 for number in told) else 22.0 * (low < 0)  # for the 0 below the axis
        per_pixel = (high - low) / (self.right - self.left - below - above)
        self.low, self.high = low - per_pixel * below, high + per_pixel * above

    def at(self, pixel: float) -> float:
        """The number whose place on the axis this is."""
        return self.low + (pixel - self.left) / (self.right - self.left) * (self.high - self.low)

    def line(self, row: int, line: float = 0) -> float:
        """The middle of a row's line of marks."""
        return self.top + row * self.pitch + self.narrow * _NAME + (line + 0.5) * _BAR

    def middle(self, row: int) -> float:
        """Where the row's name stands."""
        above = self.top + row * self.pitch
        return above + _NAME / 2 if self.narrow else above + (self.pitch - _GAP) / 2

    def key(self, named: Iterable[tuple[str, str]], *, sums: bool = False) -> None:
        """What colours mean, above all rows, in as many lines as it takes, and a diamond; before anything else."""
        squares, texts, x = Marks(), Marks(), 0.0
        for name, colour in (*named, *((("sum", TEXT),) * sums)):
            size = 18 + text_width(name) + 14
            if x and x + size > self.width:
                x, self.top = 0.0, self.top + _KEY
            y = self.top + _KEY / 2 - 2
            shape = {"shape": "diamond", "size": 60} if sums and colour == TEXT else {"shape": "square", "size": 110}
            squares.append({"at": self.at(x + 6), "y": y, "mark": shape | {"color": colour}})
            texts.append({"at": self.at(x + 18), "y": y, "text": cut(name, self.width - x - 20)})
            x += size
        self.top += _KEY
        for square in squares:
            mark = {"type": "point", "filled": True, "opacity": 1, **square.pop("mark")}
            self._add(mark, [square], "at")
        self._add({"type": "text", "align": "left"}, texts, "at", text={"field": "text"})

    def bars(self, colour: str, marks: Marks, *, thick: float = _BAR - 2, opacity: float = 1) -> None:
        """From `start` to `value`."""
        self._add({"type": "bar", "color": colour, "height": thick, "opacity": opacity}, marks, "start", x2="value")

    def rules(self, colour: str, marks: Marks, *, thick: float = 2, dash: Sequence[int] = ()) -> None:
        """A line from `start` to `value`, down to `y2` where it is not level."""
        mark = {"type": "rule", "color": colour, "strokeWidth": thick, "strokeDash": list(dash)}
        tall = {"y2": {"field": "y2"}} if marks and "y2" in marks[0] else {}
        self._add(mark, marks, "start", x2="value", **tall)

    def dots(self, colour: str, marks: Marks, *, shape: str = "circle", size: int = 70, filled: bool = True) -> None:
        """At `value`."""
        mark = {"type": "point", "color": colour, "shape": shape, "size": size, "filled": filled, "opacity": 1}
        self._add(mark | {"strokeWidth": 2}, marks, "value")

    def texts(self, marks: Marks, *, at: str = "value", align: str = "left", dx: float = 5, **mark: Any) -> None:
        """`text`, beside what stands at the number `at`."""
        own = {"type": "text", "align": align, "dx": dx, **mark}
        self._add(own, marks, at, text={"field": "text"})

    def numbers(self, marks: Marks) -> None:
        """Each `value` as its text, beyond the end of its bar."""
        for side, align, dx in ((1, "left", 4), (-1, "right", -4)):
            own = [mark for mark in marks if (mark["value"] < 0) == (side < 0)]
            self.texts([{"text": self.unit.text(mark["value"])} | mark for mark in own], align=align, dx=dx)

    def spec(self) -> Spec:
        """The chart, with names and axis."""
        self.height = self.top + len(self.names) * self.pitch
        for indent in sorted(set(self.indents)):
            self._name([i for i, own in enumerate(self.indents) if own == indent], indent)
        laid, self.layers = self.layers, []
        ends = {"y": self.top, "y2": self.height}
        ticks = [tick for tick in ticks_between(self.low, self.high, 4 if self.narrow else 6) if self._fits(tick)]
        self.rules("var(--grid)", [{"start": tick, "value": tick, **ends} for tick in ticks], thick=1)
        if self.low < 0 < self.high:
            whole, deep = [ends], self.pitch - _GAP - _NAME + 4
            if self.narrow:  # not through the names
                whole = [{"y": y - _BAR / 2, "y2": y - _BAR / 2 + deep} for y in map(self.line, range(len(self.names)))]
            self.rules(MUTED, [{"start": 0.0, "value": 0.0, **each} for each in whole], thick=1)
        self.layers += laid
        shown = {"values": ticks, "format": self.unit.axis, "title": self.title or None, "grid": False}
        for one in self.layers:
            one["encoding"]["y"]["scale"] = _pixels(self.height)
            one["encoding"]["x"]["axis"] = shown | {"orient": "bottom", "labelFlush": self.narrow}
        return framed(self.width - 2, self.height, self.layers)

    def _name(self, rows: Sequence[int], indent: float) -> None:
        """Names that begin at one place, and below them their notes; on a phone beside them."""
        names, notes, at = Marks(), Marks(), self.at(indent)
        limit = (self.width - 4 if self.narrow else self.left - 8) - indent
        for i in rows:
            name, note, y = self.names[i], self.notes[i], self.middle(i)
            under = bool(note) and not self.narrow
            text = f"{name} · {note}" if note and not under else name
            names.append({"value": at, "y": y - 7 * under, "text": cut(text, limit)})
            notes += [{"value": at, "y": y + 7, "text": cut(note, limit)}] * under
        self.texts(names, dx=0)
        self.texts(notes, dx=0, fontSize=11, color=MUTED)

    def _fits(self, tick: float) -> bool:
        """Whether the number below the axis is within the chart."""
        place = self.left + (tick - self.low) / (self.high - self.low) * (self.right - self.left)
        return abs(place) < 2 or 20 <= place <= self.width - 20

    def _x(self, field: str) -> dict[str, Any]:
        scale = {"domain": [self.low, self.high], "range": [self.left, self.right], "nice": False, "zero": False}
        return {"x": {"field": field, "type": "quantitative", "scale": scale}}

    def _y(self, field: str) -> dict[str, Any]:
        return {"field": field, "type": "quantitative", "axis": None}

    def _add(self, mark: dict[str, Any], marks: Marks, x: str, *, x2: str = "", **more: Any) -> None:
        if marks:
            end = {"x2": {"field": x2}} if x2 else {}
            self.layers.append(layer(mark, marks, **self._x(x), **end, y=self._y("y"), **more))


def framed(width: float, height: float, layers: list[Spec]) -> Spec:
    """Layers as one chart of that many pixels; what a page says once, the font say, is said in its config."""
    quiet = {"domain": False, "ticks": False, "labelColor": MUTED, "titleColor": MUTED, "gridColor": "var(--grid)"}
    config = {
        "font": "system-ui, sans-serif",
        "background": None,
        "aria": False,
        "view": {"stroke": None},
        "axis": quiet | {"labelFontSize": 11, "titleFontSize": 11, "titleFontWeight": "normal", "labelPadding": 4},
        "text": {"fontSize": FONT, "color": TEXT, "baseline": "middle"},
    }
    return {"width": width, "height": height, "padding": 0, "layer": layers, "config": config}


def grouped_bars(
    names: Sequence[str],
    series: Sequence[Series],
    width: int,
    unit: Unit,
    title: str = "",
    notes: Sequence[str] | None = None,
) -> Spec:
    """A row each, with a bar of each series and its number."""
    told = [value for one in series for value in one.values if value is not None]
    room = max((len(unit.text(value)) for value in told), default=0)
    rows = Rows(names, width, told, unit, lines=len(series), room=room, title=title, notes=notes)
    if len(series) > 1:
        rows.key((one.name, one.colour) for one in series)
    for line, one in enumerate(series):
        marks = [
            {"name": names[i], "series": one.name, "start": 0.0, "value": value, "y": rows.line(i, line)}
            for i, value in enumerate(one.values)
            if value is not None
        ]
        rows.bars(one.colour, marks)
        rows.numbers(marks)
    return rows.spec()


def stacked_bars(
    names: Sequence[str],
    parts: Sequence[Series],
    width: int,
    unit: Unit,
    title: str = "",
    *,
    indents: Sequence[float] | None = None,
    whole: bool = False,
) -> Spec:
    """A row each, its parts end to end on their side of 0, and beside it what they sum to, where it is no `whole`."""
    sums = [sum(one.values[i] or 0.0 for one in parts) for i in range(len(names))]
    ends = {
        side: [sum(max(0.0, side * (one.values[i] or 0.0)) * side for one in parts) for i in range(len(names))]
        for side in (1, -1)
    }
    room = 2 if whole else max(len(unit.text(each)) for each in sums) + 4
    rows = Rows(names, width, [*ends[1], *ends[-1]], unit, room=room, title=title, indents=indents)
    both = any(ends[1][i] > 0 and ends[-1][i] < 0 for i in range(len(names)))
    rows.key(((one.name, one.colour) for one in parts), sums=both)
    reached = [{1: 0.0, -1: 0.0} for _ in names]
    for one in parts:
        marks = Marks()
        for i, part in enumerate(one.values):
            if part:
                start, side = reached[i][1 if part > 0 else -1], 1 if part > 0 else -1
                reached[i][side] = start + part
                marks.append({"name": names[i], "part": one.name, "amount": part, "start": start,
                              "value": start + part, "y": rows.line(i)})  # fmt: skip
        rows.bars(one.colour, marks)
    if both:  # where parts pull both ways the end of the bar is not the sum
        rows.dots(TEXT, [{"value": total, "y": rows.line(i)} for i, total in enumerate(sums)], shape="diamond", size=45)
    placed = [
        {"value": ends[1 if total >= 0 else -1][i], "total": total, "y": rows.line(i),
         "text": f"sum {unit.text(total)}" if both else unit.text(total)}
        for i, total in enumerate(sums)
    ]  # fmt: skip
    rows.numbers([] if whole else placed)
    return rows.spec()


class Column(NamedTuple):
    """A column of a grid: its heading and its numbers, None where there is none."""

    name: str
    values: Sequence[float | None]


def grid(
    names: Sequence[str],
    columns: Sequence[Column],
    width: int,
    text: Callable[[float], str],
    *,
    indents: Sequence[float] | None = None,
) -> Spec:
    """A row each with a cell a column: its number, on a shade that says its size and sign."""
    shade = diverging([value for one in columns for value in one.values if value is not None])
    narrow, indents = width < NARROW, indents or [0.0] * len(names)
    left = 0.0 if narrow else min(0.36 * width, max(map(text_width, names)) + max(indents) + 12)
    cell, tall = (width - left) / len(columns), 20
    heads = [heading_lines(one.name, cell) for one in columns]
    upright = max((text_width(line) for head in heads for line in head), default=0) > max(cell, 60)
    top = 14.0 * max(map(len, heads)) + 4 if not upright else min(170.0, max(text_width(c.name) for c in columns)) + 6
    pitch = tall + 2 + narrow * _NAME
    height = top + pitch * len(names)
    x = {"field": "x", "type": "quantitative", "axis": None, "scale": _pixels(width)}
    y = {"field": "y", "type": "quantitative", "axis": None, "scale": _pixels(height)}
    shades: dict[str, Marks] = {}
    numbers = Marks()
    for j, one in enumerate(columns):
        for i, value in enumerate(one.values):
            if value is None:
                continue
            a, b = left + j * cell, top + i * pitch + narrow * _NAME
            place = {"name": names[i], "column": one.name, "value": value}
            shades.setdefault(shade(value), []).append(place | {"x": a + 1, "x2": a + cell - 1, "y": b, "y2": b + tall})
            numbers.append(place | {"x": a + cell / 2, "y": b + tall / 2, "text": text(value)})
    layers = [
        layer({"type": "rect", "color": colour}, marks, x=x, y=y, x2={"field": "x2"}, y2={"field": "y2"})
        for colour, marks in shades.items()
    ]
    fits = max((len(mark["text"]) for mark in numbers), default=0) * 6.1 <= cell - 2
    if fits:
        layers.append(layer({"type": "text", "fontSize": 11}, numbers, x=x, y=y, text={"field": "text"}))
    room = width - 4 if narrow else left - 8
    rows = [
        {"x": indent, "y": top + i * pitch + (_NAME / 2 if narrow else tall / 2), "text": cut(name, room - indent)}
        for i, (name, indent) in enumerate(zip(names, indents, strict=True))
    ]
    layers.append(layer({"type": "text", "align": "left"}, rows, x=x, y=y, text={"field": "text"}))
    turned = {"angle": -90, "align": "left"} if upright else {"lineHeight": 13}
    told = [
        {"x": left + (j + 0.5) * cell, "y": top - 6 if upright else top - 4 - 13 * (len(lines) - 0.5),
         "text": cut(one.name.replace("_", " "), 166) if upright else [cut(line, cell - 2) for line in lines]}
        for j, (one, lines) in enumerate(zip(columns, heads, strict=True))
    ]  # fmt: skip
    mark = {"type": "text", "fontSize": 11, "color": MUTED, **turned}
    layers.append(layer(mark, told, x=x, y=y, text={"field": "text"}))
    return framed(width, height, layers)


def heading_lines(name: str, pixels: float) -> list[str]:
    """A heading in lines that are as wide as a column, as far as it has places to break; three at most."""
    words = name.replace("_", " ").split(" ")
    lines = words[:1]
    for word in words[1:]:
        if text_width(f"{lines[-1]} {word}") <= pixels or len(lines) == 3:
            lines[-1] += " " + word
        else:
            lines.append(word)
    return lines


def diverging(told: Sequence[float]) -> Callable[[float], str]:
    """The shade of a number among these: the farther from 0, the stronger, gains and losses apart."""
    most = max(map(abs, told), default=0.0) or 1.0

    def shade(value: float) -> str:
        part = value / most
        steps = sum(abs(part) > edge for edge in (0.03, 0.25, 0.6))
        return HEAT[3 + (steps if part > 0 else -steps)]

    return shade


def tree_order(parents: Sequence[int]) -> tuple[list[int], list[int]]:
    """Nodes in the order in which a tree is read, each before those that follow it, and the depth of each node."""
    depths, children = [0] * len(parents), dict[int, list[int]]()
    for node, parent in enumerate(parents):
        depths[node] = 0 if parent < 0 else depths[parent] + 1
        children.setdefault(parent, []).append(node)
    order, ahead = list[int](), children.get(-1, [])[::-1]
    while ahead:
        order.append(ahead.pop())
        ahead += children.get(order[-1], [])[::-1]
    return order, depths


class Line(NamedTuple):
    """A line through points (x, y)."""

    name: str
    colour: str
    points: Sequence[tuple[float, float]]


def lines(
    drawn: Sequence[Line],
    width: int,
    unit: Unit,
    *,
    ticks: Mapping[float, str],
    across: Mapping[float, str] | None = None,
    down: Mapping[float, str] | None = None,
    end: float | None = None,
    bounds: tuple[float, float] | None = None,
    title: str = "",
) -> Spec:
    """Lines with their names at their ends. `ticks` are marked on the x-axis, `across` and `down` levels and places
    with a word to each; `end` is where the x-axis ends, `bounds` where the other does.
    """
    narrow = width < NARROW
    height, inner = (200.0 if narrow else 240.0), width - 46.0
    xs = [x for one in drawn for x, _ in one.points] + ([] if end is None else [end]) + list(down or ())
    ys = [y for one in drawn for _, y in one.points] + list(across or ())
    first, last = min(xs), max(*xs, min(xs) + 1e-9)
    low, high = bounds or (min(ys), max(ys))
    high = high if high > low else low + 1e-4
    names = min(0.36 * inner, max(text_width(one.name) for one in drawn) * 1.08 + 14)
    stop = max(one.points[-1][0] for one in drawn)
    room = max(0.0, names - (last - stop) / (last - first) * inner)
    per_pixel = (last - first) / (inner - room)
    said = _levels([(place, word, (place - first) / per_pixel) for place, word in (down or {}).items()], inner)
    words = 14.0 * max((level + 1 for _, _, _, level, _ in said), default=0)
    pixel = (high - low) / height
    x_scale = {"domain": [first, last], "range": [0, inner - room], "nice": False, "zero": False}
    y_scale = {"domain": [low, high + words * pixel], "nice": False, "zero": False}
    labels = "".join(f"abs(datum.value - {at!r}) < 1e-9 ? {label!r} : " for at, label in ticks.items()) + "''"
    x_axis = {"title": title or None, "values": list(ticks), "labelExpr": labels, "grid": False, "labelFlush": True}
    levels = ticks_between(low, high, 4)
    y_axis = {"title": None, "format": unit.axis, "values": levels, "grid": True}
    x = {"field": "x", "type": "quantitative", "scale": x_scale, "axis": x_axis}
    y = {"field": "y", "type": "quantitative", "scale": y_scale, "axis": y_axis}
    small, text = {"fontSize": 11, "color": MUTED}, {"field": "text"}
    layers = list[Spec]()
    for level, word in (across or {}).items():
        mark = [{"x": first, "x2": last, "y": level, "text": word}]
        layers.append(layer({"type": "rule", "color": MUTED, "strokeDash": [4, 3]}, mark, x=x, x2={"field": "x2"}, y=y))
        layers.append(layer({"type": "text", "align": "left", "dx": 4, "dy": 9, **small}, mark, x=x, y=y, text=text))
    for place, word, align, level, most in said:
        mark = [{"x": place, "y": low, "y2": high + (14 * level + 13) * pixel, "text": word}]
        layers.append(layer({"type": "rule", "color": MUTED, "strokeWidth": 1}, mark, x=x, y=y, y2={"field": "y2"}))
        told = {"type": "text", "align": align, "dx": 4 if align == "left" else -4, **small}
        at = [{"x": place, "y": high + (14 * level + 7) * pixel, "text": cut(word, most)}]
        layers.append(layer(told, at, x=x, y=y, text=text))
    placed = spread([one.points[-1][1] / pixel for one in drawn], 14, low / pixel, high / pixel)
    for one, spot in zip(drawn, placed, strict=True):
        marks = [{"x": a, "y": b, "name": one.name} for a, b in one.points]
        layers.append(layer({"type": "line", "color": one.colour, "strokeWidth": 2.5}, marks, x=x, y=y))
        name = {"type": "text", "align": "left", "dx": 5, "color": one.colour, "fontWeight": "bold"}
        end_of_it = [{"x": one.points[-1][0], "y": spot * pixel, "text": cut(one.name, names / 1.08 - 6)}]
        layers.append(layer(name, end_of_it, x=x, y=y, text=text))
    return framed(inner, height + words, layers)


def _levels(said: Sequence[tuple[float, str, float]], width: float) -> list[tuple[float, str, str, int, float]]:
    """Each place and word: the side it stands on, its line above the chart, and its width, so that no two overlap."""
    taken: list[list[tuple[float, float]]] = []
    found = []
    for place, word, pixel in said:
        size = text_width(word) + 8
        align = "left" if pixel + size <= width or pixel < width / 2 else "right"
        size = min(size, width - pixel if align == "left" else pixel)
        a, b = (pixel, pixel + size) if align == "left" else (pixel - size, pixel)
        level = next((i for i, line in enumerate(taken) if all(b <= c or d <= a for c, d in line)), len(taken))
        if level == len(taken):
            taken.append([])
        taken[level].append((a, b))
        found.append((place, word, align, level, size - 4))
    return found


def spread(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Places near those wanted, in their order, that are `gap` apart and as far as may be within the bounds."""
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    placed = [wanted[i] for i in order]
    for a, b in pairwise(range(len(placed))):
        placed[b] = max(placed[b], placed[a] + gap)
    over = max(0.0, placed[-1] - high)
    placed[-1] -= over
    for b, a in pairwise(range(len(placed) - 1, -1, -1)):
        placed[a] = min(placed[a], placed[b] - gap)
    found = dict(zip(order, placed, strict=True))
    return [found[i] + max(0.0, low - placed[0]) * (placed[0] < low) for i in range(len(wanted))]


def month_ticks(first: dt.date, last: dt.date, most: int) -> dict[float, str]:
    """First days of months between two days, at most so many, a whole number of months apart."""
    months = range(first.year * 12 + first.month, last.year * 12 + last.month)
    every = max(1, math.ceil(len(months) / most)) if months else 1
    days = [dt.date(month // 12, month % 12 + 1, 1) for month in months if month % every == 0]
    return {float(day.toordinal()): f"{day:%b %Y}" for day in days} or {float(last.toordinal()): f"{last:%d %b %Y}"}
