# Copyright (c) 2026, The community.paperspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Text of hosts, tasks and the service, made safe to be shown on a terminal or in Markdown.

Pure, and free of Ansible.
"""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Mapping, Sequence

# What is left of 80 columns when debug shows lines as a list: it adds eight spaces, two quotation marks and a comma.
WIDTH_IN_DEBUG = 69

_ELLIPSIS = "..."

# Control sequences of terminals: CSI, then strings such as titles and links, then the short ones.
_SEQUENCES = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c\n]*(?:\x07|\x1b\\|\x9c)?"
    r"|\x1b[ -/]*[0-~]"
)
_LINE_ENDS = re.compile(r"\r\n|[\r\v\f\x85\u2028\u2029]")

# In JSON these have a backslash before them. These characters, which look alike, are as wide as that.
_WIDE = str.maketrans('"\\', "\uff02\uff3c")
_NARROW = str.maketrans("\uff02\uff3c", '"\\')

# A character reference where a backslash would not do: in the cells of a table, and for what becomes HTML.
_MARKDOWN = {
    **{character: f"\\{character}" for character in "*_[]~#"},
    **{character: f"&#{ord(character)};" for character in "\\`|<>&$"},
}
_MARKDOWN_TABLE = str.maketrans(_MARKDOWN)
# What would begin a list at the beginning of a block, up to the character to escape.
_LIST = re.compile(r"^(?:(?=[-+])|[0-9]{1,9}(?=[.)](?: |$)))")
# What GitHub makes a link of without any markup.
_AUTOLINK = re.compile(r":(?=//)|(?<=www)\.", re.IGNORECASE)


def clean(text: str) -> str:
    """The text without control sequences, control characters and invisible ones; lines end in C(\\n).

    Characters that cannot be written as UTF-8 are replaced by U+FFFD.
    """
    if text.isprintable():
        return text
    text = _LINE_ENDS.sub("\n", _SEQUENCES.sub("", text))
    return "".join(map(_visible, text))


def one_line(text: str) -> str:
    """The cleaned text with each run of white space as one space."""
    return " ".join(clean(text).split())


def display_width(text: str) -> int:
    """How many columns of a terminal the cleaned text takes."""
    return len(text) if text.isascii() else sum(map(_columns, text))


def cut(text: str, width: int) -> str:
    """As much of the cleaned text as fits into C(width) columns."""
    if text.isascii():
        return text[: max(width, 0)]
    left = width
    for index, character in enumerate(text):
        left -= _columns(character)
        if left < 0:
            return text[:index]
    return text


def shorten(text: str, width: int) -> str:
    """The text in one line of at most C(width) columns; dots stand for what was cut off."""
    text = one_line(text)
    if display_width(text) <= width:
        return text
    return cut(text, width - len(_ELLIPSIS)).rstrip() + _ELLIPSIS[: max(width, 0)]


def shorten_inside(text: str, width: int) -> str:
    """The same, but the end is kept too: names often differ there."""
    text = one_line(text)
    if display_width(text) <= width:
        return text
    tail = (width - len(_ELLIPSIS)) // 2
    if tail < 1:
        return shorten(text, width)
    head = width - len(_ELLIPSIS) - tail
    return cut(text, head) + _ELLIPSIS + cut(text[::-1], tail)[::-1]


def shorten_apart(texts: Sequence[str], width: int) -> list[str]:
    """Each shortened inside; but where several would look the same, what all long ones end in is cut off first."""
    short = [shorten_inside(text, width) for text in texts]
    ends = sorted({text[::-1] for text in texts if display_width(text) > width})
    if len(ends) < 2 or len(set(short)) == len(set(texts)):
        return short
    alike = (one == other for one, other in zip(ends[0], ends[-1], strict=False))
    shared = sum(1 for dummy in itertools.takewhile(bool, alike))
    stem = width - len(_ELLIPSIS)
    return [
        shorten_inside(text[: len(text) - shared], stem) + _ELLIPSIS
        if display_width(text) > width and stem > 0
        else same
        for text, same in zip(texts, short, strict=True)
    ]


def wrap(text: str, width: int, most: int | None = None) -> list[str]:
    """The text in lines of at most C(width) columns, broken at spaces where there are any; at most C(most) of them."""
    rest = one_line(text)
    lines: list[str] = []
    while rest and (most is None or len(lines) < most - 1):
        head = cut(rest, width)
        if len(head) < len(rest) and rest[len(head)] != " " and " " in head:
            head = head[: head.rindex(" ")]
        # One character of two columns does not fit into one, but has to go somewhere.
        head = head or rest[0]
        lines.append(head.rstrip())
        rest = rest[len(head) :].lstrip()
    return [*lines, shorten(rest, width)] if rest else lines


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """The rows as lines with aligned columns."""
    widths = [max(map(display_width, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(map(_padded, row, widths)).rstrip() for row in rows]


def table_in_debug(
    head: Sequence[str],
    rows: Sequence[tuple[Sequence[str], Sequence[str]]],
    width: int,
    least: Mapping[int, int],
    most: int | None = None,
) -> list[str]:
    """The head and the rows, which are cells of cleaned text and notes, as lines of at most C(width) columns.

    Each row has its notes under it, in at most C(most) lines each; those that it shares with the next stand there once.
    For cells that need more than there is, columns are shortened inside, one after the other, to no less than
    C(least) has for each. No line is wider within a list that debug shows as JSON, either.
    """
    columns = [
        [cell.translate(_WIDE) for cell in column]
        for column in zip(head, *(cells for cells, notes in rows), strict=True)
    ]
    widths = [max(map(display_width, column)) for column in columns]
    excess = sum(widths) + 2 * (len(widths) - 1) - width
    for number, fewest in least.items():
        if excess > 0:
            room = max(min(fewest, widths[number]), widths[number] - excess)
            columns[number] = shorten_apart(columns[number], room)
            excess -= widths[number] - room
    first, *others = table(list(zip(*columns, strict=True)))
    lines = [first]
    for number, (line, (dummy, notes)) in enumerate(zip(others, rows, strict=True), 1):
        lines.append(line)
        if number == len(rows) or notes != rows[number][1]:
            lines += [f"    {part}" for note in notes for part in wrap_in_debug(note, max(width - 4, 1), most)]
    return [cut(line.translate(_WIDE), width).translate(_NARROW) for line in lines]


def wrap_in_debug(text: str, width: int, most: int | None = None) -> list[str]:
    """The text wrapped to lines that are no wider within a list that debug shows as JSON."""
    return [line.translate(_NARROW) for line in wrap(one_line(text).translate(_WIDE), width, most)]


def markdown_text(text: str) -> str:
    """The text in one line, as Markdown that shows it as it is and has no effect on what is around it."""
    escaped = _LIST.sub(r"\g<0>\\", one_line(text).translate(_MARKDOWN_TABLE))
    return _AUTOLINK.sub(_reference, escaped) or "\\-"


def markdown_block(text: str, language: str = "text", longest: int = 4000) -> list[str]:
    """The text as lines of a fenced code block, with all its lines, but cut off after C(longest) characters."""
    text = clean(text).strip("\n")
    if len(text) > longest:
        text = f"{text[:longest]}\n... ({len(text) - longest} more characters)"
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    return [f"{fence}{language}", *text.split("\n"), fence]


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A table whose cells are Markdown already."""
    lines = [head, ["---"] * len(head), *rows]
    return [f"| {' | '.join(line)} |" for line in lines]


def _visible(character: str) -> str:
    if character == "\n" or character.isprintable():
        return character
    category = unicodedata.category(character)
    if category == "Zs" or character == "\t":
        return " "
    return "\ufffd" if category in ("Cs", "Co", "Cn") else ""


def _columns(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in ("W", "F") else 1


def _padded(cell: str, width: int) -> str:
    return cell + " " * (width - display_width(cell))


def _reference(match: re.Match[str]) -> str:
    return f"&#{ord(match[0])};"
