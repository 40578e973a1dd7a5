"""A chart as SVG, for a page or a file, and a picture on disk.

What vl-convert draws is taken apart and put together again: nothing in it that is not seen, no two ids alike on one
page, text that no reader of XML refuses, and no address: it can ask nobody for anything.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeAlias
from xml.etree import ElementTree

from allocator.errors import printable, required_extra
from allocator.reporting.charts import Spec
from allocator.tables.files import check_file, replace_file

Colours: TypeAlias = Mapping[str, str]
_SCHEME = {
    "paper": ("#ffffff", "#14181d"), "text": ("#1b1f24", "#e6e9ec"), "muted": ("#57606a", "#a3acb6"),
    "grid": ("#e3e7eb", "#2c333b"), "band": ("#d5dde6", "#3a4552"), "before": ("#8794a4", "#76828f"),
    "after": ("#0b4f8a", "#7cb8ee"), "good": ("#1a7f5a", "#4cc38a"), "amber": ("#b06f00", "#e0a030"),
    "breach": ("#c22f2f", "#ff7b72"), "series-1": ("#0072b2", "#58a6e0"), "series-2": ("#bf5200", "#f0883e"),
    "series-3": ("#00805f", "#3fbf95"), "series-4": ("#a8497f", "#db8cbb"), "series-5": ("#8a6d00", "#d4b13f"),
    "series-6": ("#5b6470", "#a9b4c0"), "heat-1": ("#f19a5b", "#9a4a12"), "heat-2": ("#f8c59f", "#71401d"),
    "heat-3": ("#fce6d6", "#47301f"), "heat-4": ("#f3f4f6", "#252b32"), "heat-5": ("#dbeaf7", "#1e3347"),
    "heat-6": ("#aed0ec", "#1d4a73"), "heat-7": ("#74aede", "#1c5f9c"),
}  # fmt: skip
"""By day and by night. Blue and orange tell gain from loss to those who see no red or green; every shade by day bears
black text."""
LIGHT, DARK = (MappingProxyType({name: pair[at] for name, pair in _SCHEME.items()}) for at in (0, 1))
PAGE: Colours = MappingProxyType({name: f"var(--{name})" for name in LIGHT} | {"text": "currentColor"})
"""Left to the page, which says what they are, by day and by night."""
FILE = LIGHT
_SVG = "http://www.w3.org/2000/svg"
_TOKEN = re.compile(r"var\(--([a-z0-9-]+)\)")
_FACE = "system-ui, sans-serif"
SUFFIXES = (".svg", ".png")


def svg(spec: Spec, colours: Colours, *, label: str = "") -> str:
    """The drawing of a spec, to stand in a page; `label` is what is read out of it."""
    return ElementTree.tostring(_drawn(spec, colours, label), encoding="unicode")


def _drawn(spec: Spec, colours: Colours, label: str = "") -> ElementTree.Element:
    ElementTree.register_namespace("", _SVG)
    own = _as_shown(spec, colours)
    text = _converter("charts").vegalite_to_svg(own, allowed_base_urls=[])
    root = ElementTree.fromstring(text)
    prefix = hashlib.sha256(json.dumps(own, sort_keys=True).encode()).hexdigest()[:8]
    _tidy(root, f"c{prefix}-")
    root.set("font-family", _FACE)
    if label:
        root.set("role", "img")
        root.set("aria-label", printable(label))
    return root


def _as_shown(part: Any, colours: Colours, *, data: bool = False) -> Any:
    """The spec with its colours, and its texts as they may be shown; what is data names no colour."""
    if isinstance(part, dict):
        return {key: _as_shown(value, colours, data=data or key == "values") for key, value in part.items()}
    if isinstance(part, list | tuple):
        return [_as_shown(value, colours, data=data) for value in part]
    if isinstance(part, str):
        named = None if data else _TOKEN.fullmatch(part)
        return colours[named[1]] if named else printable(part)
    return part


_UNSEEN = {"class", "role", "pointer-events", "aria-hidden", "aria-roledescription", "aria-label", "font-family"}
_NUMBER = re.compile(r"-?\d+\.\d{3,}")


def _tidy(root: ElementTree.Element, prefix: str) -> None:
    """Take out what is not seen, and give ids that are this drawing's own."""
    for parent in root.iter():
        for child in list(parent):
            background = child.get("class") == "background" and not {"fill", "stroke"} & set(child.attrib)
            if child.get("display") == "none" or background:
                parent.remove(child)
    for element in root.iter():
        for name in _UNSEEN & set(element.attrib):
            del element.attrib[name]
        for name, value in element.attrib.items():
            if name == "id":
                element.set(name, prefix + value)
            elif "url(#" in value:
                element.set(name, value.replace("url(#", f"url(#{prefix}"))
            elif name in ("d", "transform", "x2", "y2"):
                element.set(name, _NUMBER.sub(lambda found: f"{float(found[0]):.2f}", value))
        if element.get("opacity") == "1":
            del element.attrib["opacity"]
        if element.get("font-size") == "12px":
            del element.attrib["font-size"]
    root.set("font-size", "12px")


# A picture on disk: charts under each other with their titles.
#


@dataclass(frozen=True)
class Picture:
    """Charts of one width with what each is called, under a heading."""

    heading: str
    charts: Sequence[tuple[str, Spec]]


_MARGIN, _HEADING, _TITLE, _BETWEEN = 16.0, 24.0, 22.0, 20.0


def picture_svg(picture: Picture, colours: Colours = FILE) -> str:
    """All charts of a picture in one drawing, on paper."""
    drawn = [_drawn(spec, colours) for _, spec in picture.charts]
    width = max(float(one.get("width", "0")) for one in drawn) + 2 * _MARGIN
    root = ElementTree.Element(f"{{{_SVG}}}svg", {"font-family": _FACE, "font-size": "12px", "fill": "none"})
    paper = ElementTree.SubElement(root, f"{{{_SVG}}}rect", {"fill": colours["paper"]})
    texts = [(picture.heading, _MARGIN + 12, 16)]
    y = _MARGIN + _HEADING
    for (title, _), one in zip(picture.charts, drawn, strict=True):
        texts.append((title, y + 12, 13))
        y += _TITLE
        place = ElementTree.SubElement(root, f"{{{_SVG}}}g", {"transform": f"translate({_MARGIN:g},{y:g})"})
        place.extend(list(one))
        y += float(one.get("height", "0")) + _BETWEEN
    for text, at, high in texts:
        shown = {"x": f"{_MARGIN:g}", "y": f"{at:g}", "font-size": f"{high}px", "font-weight": "bold"}
        drawn_text = ElementTree.SubElement(root, f"{{{_SVG}}}text", shown | {"fill": colours["text"]})
        drawn_text.text = _cut(printable(text), width, high)
    size = {"width": f"{width:g}", "height": f"{y:g}"}
    paper.attrib.update(size)
    root.attrib.update(size | {"viewBox": f"0 0 {width:g} {y:g}", "role": "img"})
    root.set("aria-label", printable(picture.heading))
    return ElementTree.tostring(root, encoding="unicode")


def _cut(text: str, width: float, size: int) -> str:
    room = int((width - 2 * _MARGIN) / (0.6 * size))
    return text if len(text) <= room else text[: room - 1] + "…"


def check_picture(path: str) -> None:
    """Refuse now what could not be written later, before anything is solved.

    Raises:
        BadInput: another suffix than .svg or .png, no folder, no vl-convert.
    """
    check_file(path, SUFFIXES, "--plot")
    _converter()


def _converter(where: str = "--plot") -> Any:
    return required_extra("vl_convert", "vl-convert-python", "report", where)


def write_picture(picture: Picture, path: str) -> None:
    """Write a picture as the suffix of `path` says, whole or not at all: what was there before stays until then.

    Raises:
        BadInput: it cannot be written.
    """
    check_picture(path)
    content = picture_svg(picture)
    written = content.encode()
    if path.lower().endswith(".png"):
        written = _converter().svg_to_png(content, scale=2)
    replace_file(Path(path), written, "--plot")
