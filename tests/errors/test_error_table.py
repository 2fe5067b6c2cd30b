# SPDX-License-Identifier: Apache-2.0
"""docs/errors.md and the sources have the same messages, and each row's test is there."""

from __future__ import annotations

import ast
import re
from functools import cache
from itertools import pairwise

from error_table import Row, rows
from messages import ROOT, all_messages, has_words, plain

# Messages that the sources put together from parts: the file, and the part that has to be there.
COMPOSED = {
    "aborted by rank {}: {}": ("runtime/sync/failure.c", '"aborted by rank %d: "'),
    "the {} needs {} huge page{} of {} KiB{}, and {} {} free: {} more {} needed; raise {}": (
        "runtime/shm/huge_pages.c",
        "more %s needed; raise %s",
    ),
    "the {} needs {} huge page{} of {} KiB{}, and {} {} free, but they are promised to others, or the cgroup's limit "
    "(hugetlb) is lower": ("runtime/shm/huge_pages.c", ", but they are promised to others, or"),
    "send: Timed out waiting {}ms for {} (tag {}): it does not receive what was sent to it": (
        "torchops/csrc/p2p_wait.cpp",
        '": it does not receive what was sent to it"',
    ),
    "recv: Timed out waiting {}ms for {} (tag {}): its message has come in part": (
        "torchops/csrc/p2p_wait.cpp",
        '": its message has come in part"',
    ),
    "recv: Timed out waiting {}ms for {} (tag {}): it has sent no message with this tag": (
        "torchops/csrc/p2p_wait.cpp",
        '": it has sent no message with this tag"',
    ),
    'of the {} ranks of group "{}" these did not come within {} s: {}. Look at what they printed, or give them longer '
    "with SHMRT_RENDEZVOUS_TIMEOUT": ("torchops/csrc/meeting.cpp", "these did not come within"),
    "rank {} has aborted the process group": ("torchops/csrc/process_group.cpp", '" has aborted the process group"'),
    "rank {} of {} aborted: {}": ("torchops/csrc/across.cpp", 'own_name() + " aborted: " + '),
    "the process group was destroyed": ("torchops/csrc/process_group.cpp", 'leave("the process group was destroyed")'),
    "{}: {}": ("launcher/options/config.c", '"%s: %s"'),
    "{}": ("runtime/comm.c", "strerror(-rc)"),
}

# What only puts something in front of another row's message, or behind it.
PASSED_ON = {
    "all-reduce with a norm: {}",
    "ProcessGroupShmrt::{}: {}",
    "{}: it has sent no message with this tag",
    "{} failed too)",
}


def is_own(text: str) -> bool:
    """Whether it is a whole message; the ends of shm-launch's last line begin with a blank."""
    return has_words(text) and not text.startswith(" ") and text not in PASSED_ON


def test_each_message_of_the_sources_is_a_row():
    known = {row.plain for row in rows()}
    missing = [m for m in all_messages() if is_own(m.text) and m.text not in known]
    assert not missing, "not in docs/errors.md:\n" + "\n".join(f"{m.path}:{m.line}: {m.text}" for m in missing)


def test_each_row_is_a_message_of_the_sources():
    known = {m.text for m in all_messages() if is_own(m.text)} | set(COMPOSED)
    stale = [row for row in rows() if row.plain not in known]
    assert not stale, "in no source:\n" + "\n".join(f"docs/errors.md:{row.line}: {row.text}" for row in stale)


def test_what_is_put_together_is_still_there():
    for text, (path, part) in COMPOSED.items():
        assert plain(text) in {row.plain for row in rows()}, text
        assert part in re.sub(r'"\s*\n\s*"', "", (ROOT / path).read_text()), f"{part} is not in {path}"


@cache
def functions(path: str) -> dict[str, str]:
    """The functions of a test's file, and what each has in front of it and inside."""
    source = (ROOT / "tests" / path).read_text()
    if path.endswith(".py"):
        lines = source.splitlines()
        found = {}
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef):
                first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
                found[node.name] = "\n".join(lines[first - 1 : node.end_lineno])
        return found
    parts = re.split(r"^(?=[a-z].*?\b\w+\([^;]*?\)\n\{)", source, flags=re.M | re.S)
    return {match[1]: part for part in parts if (match := re.match(r"[^(]*?\b(\w+)\(", part))}


def pieces(text: str) -> set[str]:
    """Two words of a message side by side, or what is shorter than that."""
    found = set()
    for part in plain(text).split("{}"):
        words = [word.strip(",;:.()") for word in part.split()]
        found |= {" ".join(pair) for pair in pairwise(words)} or set(words)
    return found


@cache
def with_helpers(path: str, name: str) -> str:
    """A test, and the functions of its file that it names, and those that these name."""
    known = functions(path)
    reached, new = set(), {name}
    while new:
        reached |= new
        named = set(re.findall(r"\w+", "\n".join(known[one] for one in new)))
        new = (named & set(known)) - reached
    return "\n".join(known[one] for one in reached)


def names_it(row: Row) -> bool:
    """Whether the test has words of the message that few other rows have, or looks the row up."""
    path, _, name = row.test.partition("::")
    source = re.sub(r'"\s*\n\s*[rf]?"', "", with_helpers(path, name)).replace("\\", "")
    mine = [piece for piece in pieces(row.text) if piece in source]
    literals = re.findall(r"""(?<=")[^"\n]{8,}(?=")|(?<=')[^'\n]{8,}(?=')""", source)
    mine += [words for words in literals if words in row.text]
    return any(sum(piece in other.text for other in rows()) <= 4 for piece in mine)


FAULTS = "inject/messages.txt"


@cache
def messages_of_faults() -> list[str]:
    """What tests/inject provokes by failing system calls: the last cell of each line."""
    lines = (ROOT / "tests" / FAULTS).read_text().splitlines()
    return [plain(line.split(" | ")[-1]) for line in lines if " | " in line and not line.startswith("#")]


def test_each_row_has_a_test():
    wrong = []
    for row in rows():
        if row.test == FAULTS:
            if not any(row.matches(said.removeprefix("{}: ")) for said in messages_of_faults()):
                wrong.append(f"docs/errors.md:{row.line}: tests/{FAULTS} has no {row.text!r}")
            continue
        path, _, name = row.test.partition("::")
        if not (ROOT / "tests" / path).is_file() or name not in functions(path):
            wrong.append(f"docs/errors.md:{row.line}: there is no test {row.test}")
        elif not names_it(row):
            wrong.append(f"docs/errors.md:{row.line}: {row.test} has no words of {row.text!r}")
    assert not wrong, "\n".join(wrong)
