# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run a command, and keep what it prints as a picture that moves: `record_demo.py PICTURE.svg COMMAND...`.

The picture scrolls through the lines as they came, pauses shortened, and stands still where there is much to read. It
needs no network and no script, and does not move at all for those who want less motion.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

# What Ansible is told, and what there is: the demonstration indents the output of its commands.
TERMINAL, COLUMNS, ROWS = 92, 96, 34
CHARACTER, LINE, MARGIN = 8.43, 18, 14
# Seconds of the picture: a line is not read quicker, a pause is not waited for longer, and the last state stays.
SHORTEST, LONGEST, STILL = 0.2, 0.5, 15.0
# How long it stands still after what is to be read: headings and commands, the end of a table, and of a command.
COMMAND, TABLE, END = 2.0, 4.0, 2.0
# Headings and commands of the demonstration, which has no colours of its own.
COLOURS = {"=== ": "yellow", "$ ": "cyan"}
CONSOLE = Console(width=COLUMNS, color_system="truecolor", legacy_windows=False)

SVG = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" aria-label="{label}">
<title>{label}</title>
<style>
text {{ font: 14px "DejaVu Sans Mono", Menlo, Consolas, monospace; white-space: pre; fill: {foreground}; }}
#lines {{ transform: translateY({last}px); animation: scroll {seconds:.1f}s step-end infinite; }}
@keyframes scroll {{ {frames} }}
@media (prefers-reduced-motion: reduce) {{ #lines {{ animation: none; }} }}
</style>
<clipPath id="screen"><rect width="{width}" height="{height}"/></clipPath>
<rect width="{width}" height="{height}" rx="8" fill="{background}"/>
<g clip-path="url(#screen)"><g id="lines">
{lines}
</g></g>
</svg>
"""


@dataclass(frozen=True)
class Line:
    """A line as printed, with its colours, and when it came: seconds of the recording."""

    text: Text
    at: float


def recorded(command: list[str]) -> Iterator[Line]:
    """What the command prints, which is shown as well. Exits as the command does where that is a failure."""
    environ = {**os.environ, "ANSIBLE_FORCE_COLOR": "true", "COLUMNS": str(TERMINAL), "PYTHONUNBUFFERED": "1"}
    last, at, is_in_table = time.monotonic(), 0.0, False
    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        for line in process.stdout or ():
            print(line, end="", flush=True)
            text = Text.from_ansi(line.rstrip("\n"))
            for beginning, colour in COLOURS.items():
                if text.plain.startswith(beginning):
                    text.stylize(colour)
            now = time.monotonic()
            at += min(LONGEST, max(SHORTEST, now - last))
            last = now
            is_in_table = is_in_table or is_head(text.plain)
            if is_in_table and not text.plain.strip():
                at, is_in_table = at + TABLE, False
            for part in folded(text):
                yield Line(part, at)
            at += pause_after(text.plain)
    if process.returncode:
        sys.exit(process.returncode)


def folded(text: Text) -> Iterator[Text]:
    """The text in lines that fit: of Ansible's lines, those that its own width has no effect on do not."""
    indent = len(text.plain) - len(text.plain.lstrip())
    *dummy, rest = text.divide([indent])
    for part in rest.wrap(CONSOLE, COLUMNS - indent, overflow="fold"):
        part.rstrip()
        yield Text(" " * indent).append_text(part)


def is_head(line: str) -> bool:
    """Whether this is the line over the columns of a table."""
    return line.lstrip(" -").startswith(("HOST  ", "| What was done", "machine  "))


def pause_after(line: str) -> float:
    """How long to stand still after this line."""
    if line.startswith(("=== ", "$ ")):
        return COMMAND
    return END if line.startswith("Exit code") else 0.0


def picture(lines: list[Line], label: str) -> str:
    seconds = lines[-1].at + STILL
    # Lines come in from below, so that the newest is the last on the screen.
    frames = [(0.0, offset(-1)), *((100 * line.at / seconds, offset(newest)) for newest, line in enumerate(lines))]
    return SVG.format(
        width=round(COLUMNS * CHARACTER + 2 * MARGIN),
        height=ROWS * LINE + 2 * MARGIN,
        label=escape(label),
        foreground=MONOKAI.foreground_color.hex,
        background=MONOKAI.background_color.hex,
        seconds=seconds,
        frames=" ".join(f"{percent:.2f}% {{ transform: translateY({down}px) }}" for percent, down in frames),
        last=offset(len(lines) - 1),
        lines="\n".join(drawn(number, line.text) for number, line in enumerate(lines)),
    )


def offset(newest: int) -> int:
    return (ROWS - 1 - newest) * LINE


def drawn(number: int, text: Text) -> str:
    """One line as SVG, each colour a piece of its own."""
    if not text.plain.strip():
        return ""
    pieces = []
    for segment in text.render(CONSOLE):
        words = escape(segment.text)
        colour = segment.style.color if segment.style else None
        if colour is not None and not colour.is_default:
            words = f'<tspan fill="{colour.get_truecolor(MONOKAI).hex}">{words}</tspan>'
        pieces.append(words)
    return f'<text x="{MARGIN}" y="{MARGIN + number * LINE + 13}">{"".join(pieces)}</text>'


def main(path: Path, *command: str) -> None:
    lines = list(recorded(list(command)))
    path.write_text(picture(lines, "The demonstration, as make demo shows it"), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
