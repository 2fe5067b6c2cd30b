# SPDX-License-Identifier: Apache-2.0
"""What the tests read from a drawing of `shm-launch --draw`: boxes, texts, and which lies in which."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass

NAMESPACE = "{http://www.w3.org/2000/svg}"
# Of a digit in DejaVu Sans and Verdana, the widest of the usual fonts; in ems.
GLYPH = 0.637


@dataclass
class Box:
    left: float
    top: float
    right: float
    bottom: float
    fill: str
    kind: str
    rank: int | None

    def holds(self, other: Box | Text, slack: float = 0.5) -> bool:
        return (
            self.left - slack <= other.left
            and other.right <= self.right + slack
            and self.top - slack <= other.top
            and other.bottom <= self.bottom + slack
        )

    def overlaps(self, other: Box) -> bool:
        return (
            self.left < other.right
            and other.left < self.right
            and self.top < other.bottom
            and other.top < self.bottom
        )


@dataclass
class Text:
    left: float
    top: float
    right: float
    bottom: float
    words: str
    kind: str
    is_bold: bool


class Drawing:
    def __init__(self, source: bytes):
        root = ElementTree.fromstring(source)
        left, top, right, bottom = map(float, root.get("viewBox").split())
        self.page = Box(left, top, right, bottom, "", "page", None)
        self.root = root
        patterns = {child for defs in root.iter(f"{NAMESPACE}defs") for child in defs.iter()}
        shapes = [element for element in root.iter() if element not in patterns]
        self.boxes = [self._box(element) for element in shapes if element.tag == f"{NAMESPACE}rect"]
        self.texts = [self._text(element) for element in shapes if element.tag == f"{NAMESPACE}text"]
        self.tags = {element.tag.removeprefix(NAMESPACE) for element in root.iter()}

    def _box(self, element) -> Box:
        left, top, width, height = (float(element.get(name)) for name in ("x", "y", "width", "height"))
        rank = element.get("data-rank")
        return Box(
            left,
            top,
            left + width,
            top + height,
            element.get("fill"),
            element.get("class", ""),
            None if rank is None else int(rank),
        )

    def _text(self, element) -> Text:
        x, y, size = (float(element.get(name)) for name in ("x", "y", "font-size"))
        width = len(element.text) * size * GLYPH
        left = x - width * {"middle": 0.5, "end": 1.0, None: 0.0}[element.get("text-anchor")]
        is_bold = element.get("font-weight") == "bold"
        return Text(left, y - 0.75 * size, left + width, y, element.text, element.get("class", ""), is_bold)

    def kind(self, kind: str) -> list[Box]:
        return [box for box in self.boxes if box.kind == kind]

    def inside(self, box: Box) -> list[Text]:
        """The texts whose middle is in the box."""
        return [
            text
            for text in self.texts
            if box.left < (text.left + text.right) / 2 < box.right
            and box.top < (text.top + text.bottom) / 2 < box.bottom
        ]
