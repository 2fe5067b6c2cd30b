# SPDX-License-Identifier: Apache-2.0
"""The messages of errors that are in the sources, with {} where a value stands.

A small parser of calls: it finds the functions that make an error, takes the argument with the text, and joins its
string literals, in C over lines and PRIu64, in C++ over +, in Python over f-strings.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Maker:
    """A function that makes an error: which argument is the text, and what it puts in front of it and behind."""

    text: int
    before: str = ""
    after: str = ""


# Their text is a format of printf().
C_MAKERS = {
    "shmrt_error_set": Maker(2),
    "shmrt_fail": Maker(2),
    "shmrt_fail_waiting": Maker(4, after="{}"),
    "shmrt_fail_after": Maker(4, after="{}"),
    "launch_error": Maker(2),
}
# Functions of one file, which hand their words on to those above.
C_LOCAL = {
    "runtime/comm_norm.c": {"refuse": Maker(1, "all-reduce with a norm: ")},
    "launcher/options/config_yaml.c": {"complain": Maker(2)},
    "launcher/parent/verdict.c": {"snprintf": Maker(2)},
    "launcher/parent/attempts.c": {"launch_say": Maker(0)},
    "launcher/parent/supervise.c": {"launch_say": Maker(0)},
    "launcher/main.c": {"launch_say": Maker(0)},
}
# Their text is a sum of std::strings.
CXX_MAKERS = {"throw_error": Maker(1), "refuse": Maker(1), "Failure": Maker(1)}
CXX_LOCAL = {
    "torchops/csrc/across.cpp": {"die": Maker(1)},
    "torchops/csrc/elsewhere.cpp": {"end": Maker(1)},
    "torchops/csrc/engine.cpp": {"fail": Maker(1, "{} with {} failed: ")},
    "torchops/csrc/fused.cpp": {"refuse": Maker(2)},
    "torchops/csrc/p2p.cpp": {"failure": Maker(1)},
    "torchops/csrc/reductions.cpp": {"refuse": Maker(1)},
}

TOKEN = re.compile(
    r"""//[^\n]*|/\*.*?\*/|R"\((?P<raw>.*?)\)"|"(?P<string>(?:\\.|[^"\\])*)"|'(?:\\.|[^'\\])+'"""
    r"""|(?P<word>[A-Za-z_][\w:]*)|(?P<other>\S)""",
    re.S,
)
DIRECTIVE = re.compile(r"%(?:%|[-+ #0]*(?:\d+|\*)?(?:\.(?:\d+|\*))?(?:hh|h|ll|l|z|t|j)?[a-zA-Z])")
OPEN, CLOSE = "([{", ")]}"


@dataclass(frozen=True)
class Message:
    text: str  # with {} for values
    path: str
    line: int


def tokens(source: str) -> list[tuple[str, str, int]]:
    """(kind, text, line), kind one of string, word and other; comments are left out."""
    found, line, at = [], 1, 0
    for match in TOKEN.finditer(source):
        line += source.count("\n", at, match.start())
        at = match.start()
        text = match[0]
        if text.startswith(("//", "/*")):
            continue
        if match["string"] is not None:
            found.append(("string", re.sub(r"\\(.)", lambda m: {"n": "\n"}.get(m[1], m[1]), match["string"]), line))
        elif match["raw"] is not None:
            found.append(("string", match["raw"], line))
        else:
            found.append(("word" if match["word"] else "other", text, line))
    return found


def arguments(found: list, start: int) -> list[list]:
    """The tokens of each argument of the call whose bracket is at `start`."""
    depth, parts = 0, [[]]
    for token in found[start:]:
        if token[0] == "other" and token[1] in OPEN:
            depth += 1
            if depth == 1:
                continue
        if token[0] == "other" and token[1] in CLOSE:
            depth -= 1
            if depth == 0:
                return parts
        if depth == 1 and token[:2] == ("other", ","):
            parts.append([])
        else:
            parts[-1].append(token)
    return parts


def printf_text(argument: list) -> str:
    """A format, as a message; empty where it is no literal."""
    if any(kind == "other" for kind, _, _ in argument):
        return ""
    joined = "".join("u" if text.startswith(("PRI", "JSON_")) else text for _, text, _ in argument)
    return DIRECTIVE.sub(lambda m: "%" if m[0] == "%%" else "{}", joined)


def sum_text(argument: list) -> str:
    """A sum of strings, as a message."""
    out, depth, operand = "", 0, []
    for token in [*argument, ("other", "+", 0)]:
        if token[0] == "other" and token[1] in OPEN:
            depth += 1
        if token[0] == "other" and token[1] in CLOSE:
            depth -= 1
        if depth or token[:2] != ("other", "+"):
            operand.append(token)
            continue
        inside = operand[2:-1] if operand and operand[0][1] == "std::string" else operand
        literal = bool(inside) and all(kind == "string" for kind, _, _ in inside)
        out += "".join(text for _, text, _ in inside) if literal else "{}"
        operand = []
    return out


def plain(text: str) -> str:
    """Names of placeholders do not count, nor how many stand side by side."""
    return re.sub(r"(?:\{\})+", "{}", re.sub(r"\{[^{}]*\}", "{}", text))


def of_calls(path: str, source: str, makers: dict[str, Maker], to_text) -> list[Message]:
    found, out = tokens(source), []
    for i, (kind, text, line) in enumerate(found[:-1]):
        maker = makers.get(text.split("::")[-1]) if kind == "word" else None
        if not maker or found[i + 1][1] != "(" or (i and found[i - 1][1] in ("int", "void", "class")):
            continue
        parts = arguments(found, i + 1)
        if len(parts) > maker.text:
            message = plain(maker.before + to_text(parts[maker.text]) + maker.after)
            out.append(Message(message, path, line))
    return out


def has_words(text: str) -> bool:
    """Whether there is more to it than what another error says."""
    return len(re.findall(r"[A-Za-z]{2,}", text.replace("{}", ""))) > 0


def of_python(path: str, source: str) -> list[Message]:
    def texts(node: ast.expr) -> list[str]:
        if isinstance(node, ast.IfExp):
            return texts(node.body) + texts(node.orelse)
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            return [node.value]
        if isinstance(node, ast.JoinedStr):
            return ["".join(str(v.value) if isinstance(v, ast.Constant) else "{}" for v in node.values)]
        return []

    return [
        Message(plain(text), path, node.lineno)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and node.exc.args
        for text in texts(node.exc.args[0])
    ]


@cache
def all_messages() -> list[Message]:
    found = []
    for file in sorted(ROOT.glob("runtime/**/*.[ch]")) + sorted(ROOT.glob("launcher/**/*.[ch]")):
        path = str(file.relative_to(ROOT))
        found += of_calls(path, file.read_text(), C_MAKERS | C_LOCAL.get(path, {}), printf_text)
    for file in sorted(ROOT.glob("torchops/csrc/*.cpp")) + sorted(ROOT.glob("torchops/csrc/*.h")):
        path = str(file.relative_to(ROOT))
        found += of_calls(path, file.read_text(), CXX_MAKERS | CXX_LOCAL.get(path, {}), sum_text)
    for file in sorted(ROOT.glob("torchops/**/*.py")):
        path = str(file.relative_to(ROOT))
        found += of_python(path, file.read_text())
    return found


if __name__ == "__main__":
    for message in all_messages():
        print(f"{message.path}:{message.line}: {message.text}")
