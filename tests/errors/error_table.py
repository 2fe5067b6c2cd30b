# SPDX-License-Identifier: Apache-2.0
"""docs/errors.md as rows, and which row a message is of."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

from messages import ROOT, plain

DOC = ROOT / "docs" / "errors.md"
ROW = re.compile(r"^\| (?P<fence>`+) ?(?P<text>.*?) ?(?P=fence) \| (?P<rest>.*) \|$")


@dataclass(frozen=True)
class Row:
    section: str
    text: str  # as it stands there, with {names} for values
    codes: tuple[str, ...]
    test: str
    line: int

    @property
    def plain(self) -> str:
        return plain(self.text)

    def matches(self, message: str) -> bool:
        """Whether the message is this one, from its first to its last character."""
        parts = [re.escape(part) for part in self.plain.split("{}")]
        return re.fullmatch(".*".join(parts), message, re.S) is not None


@cache
def rows() -> tuple[Row, ...]:
    found, section = [], ""
    for number, line in enumerate(DOC.read_text().splitlines(), 1):
        if line.startswith("## "):
            section = line[3:]
        match = ROW.match(line)
        if match:
            _when, codes, _do, test = match["rest"].split(" | ")
            found.append(Row(section, match["text"], tuple(codes.split(", ")), test.strip(" `"), number))
    return tuple(found)


def row_with(words: str) -> Row:
    """The row that has these words, which no other message has; or is these words."""
    found = [row for row in rows() if words == row.text] or [row for row in rows() if words in row.text]
    assert len({row.plain for row in found}) == 1, f"{len(found)} rows of docs/errors.md have the words {words!r}"
    return found[0]


def assert_documented(words: str, message: str, code: str, before: str = "") -> None:
    """The row with these words is this message, all of it, and has its code. `before`: what may stand in front, a
    regular expression."""
    row = row_with(words)
    front = re.match(before, message)
    own = message[front.end() :] if front else message
    assert row.matches(own) or row.matches(message), f"docs/errors.md:{row.line} is {row.text!r}, and came {message!r}"
    assert code in row.codes, f"{message!r} came with {code}, and docs/errors.md:{row.line} says {row.codes}"
