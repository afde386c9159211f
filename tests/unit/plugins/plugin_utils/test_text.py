# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from ansible_collections.community.paperspace.plugins.plugin_utils._text import (
    clean,
    cut,
    display_width,
    markdown_block,
    markdown_table,
    markdown_text,
    one_line,
    shorten,
    shorten_apart,
    shorten_inside,
    table,
    wrap,
)

# All characters, lone surrogates too, and those that mean something to terminals and Markdown often.
ANY_TEXT = st.one_of(
    st.text(st.characters()),
    st.text("\x1b[]m0;31\x07\\\x9b\x9d\r\n\tab\u202e\u200b\ud800\u65e5"),
    st.text("`|*_[]()<>!#~&;:/\\\"'-+=.0129$@ \nwWhttpsa"),
)
MARKDOWN = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])


def inline(tokens: list[Token]) -> list[Token]:
    return [child for token in tokens if token.type == "inline" for child in token.children or ()]


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("web1", "web1"),
        ("m\u00fcller \u65e5\u672c", "m\u00fcller \u65e5\u672c"),
        ("a\r\nb\rc\nd\u2028e\x0bf", "a\nb\nc\nd\ne\nf"),
        ("a\tb\u00a0c", "a b c"),
        # Colours, cursor movements, 8-bit forms, character sets, a lone escape.
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("\x1b[2J\x1b[10;5Hover", "over"),
        ("\x9b31mred", "red"),
        ("\x1b(Btext\x1b7", "text"),
        ("end\x1b", "end"),
        # Titles and links, ended by BEL, ST, or not at all.
        ("\x1b]0;title\x07text", "text"),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x9d0;title\x9ctext", "text"),
        ("\x1bPq#0\x1b\\text", "text"),
        ("\x1b]0;title\nnext line", "\nnext line"),
        ("bell\x07 null\x00 delete\x7f", "bell null delete"),
        # What turns text around, and what is not seen.
        ("user\u202egnp.exe", "usergnp.exe"),
        ("zero\u200bwidth\ufeff", "zerowidth"),
        # Not UTF-8 on the disk, as Python hands it over.
        ("caf\udce9", "caf\ufffd"),
    ],
)
def test_text_is_cleaned_of_what_only_acts(text: str, cleaned: str) -> None:
    assert clean(text) == cleaned


@given(ANY_TEXT)
def test_cleaned_text_is_printable_utf8_and_stays_as_it_is(text: str) -> None:
    cleaned = clean(text)
    assert all(line.isprintable() for line in cleaned.split("\n"))
    assert cleaned.encode() == cleaned.encode("utf-8", "strict")
    assert clean(cleaned) == cleaned


@given(ANY_TEXT)
def test_one_line_is_one_line(text: str) -> None:
    assert one_line(text).isprintable()
    assert "  " not in one_line(text)


@pytest.mark.parametrize(
    ("text", "width", "short"),
    [
        ("abcdef", 6, "abcdef"),
        ("abcdefg", 6, "abc..."),
        ("ab defg", 6, "ab..."),
        ("a\nb", 6, "a b"),
        ("abcdef", 2, ".."),
        ("abcdef", 0, ""),
        ("abcdef", -1, ""),
        ("\u65e5\u672c\u8a9e", 6, "\u65e5\u672c\u8a9e"),
        ("\u65e5\u672c\u8a9e", 5, "\u65e5..."),
        # An accent of its own takes no column.
        ("e\u0301e\u0301", 2, "e\u0301e\u0301"),
    ],
)
def test_text_is_shortened_to_columns(text: str, width: int, short: str) -> None:
    assert shorten(text, width) == short


@pytest.mark.parametrize(
    ("text", "width", "short"),
    [
        ("web-0001", 8, "web-0001"),
        ("frontend-0001.example.org", 15, "fronte...le.org"),
        ("frontend-0001", 10, "fron...001"),
        ("abcdefgh", 5, "a...h"),
        ("abcdefgh", 4, "a..."),
        ("abcdefgh", 0, ""),
        ("\u65e5\u672c\u8a9e\u65e5\u672c", 9, "\u65e5...\u672c"),
    ],
)
def test_name_is_shortened_inside(text: str, width: int, short: str) -> None:
    assert shorten_inside(text, width) == short
    assert display_width(short) <= width


@pytest.mark.parametrize(
    ("texts", "width", "short"),
    [
        (["web-0001.example.org", "db"], 12, ["web-0....org", "db"]),
        # Shortened inside, these would be the same.
        (["web-0001.example.org", "web-0002.example.org", "db"], 12, ["web-0001...", "web-0002...", "db"]),
        (["frontend-0001.example.org", "frontend-0012.example.org"], 12, ["fro...001...", "fro...012..."]),
        (["same" * 9, "same" * 9], 12, ["sames...same"] * 2),
    ],
)
def test_names_stay_apart_when_they_are_shortened(texts: list[str], width: int, short: list[str]) -> None:
    assert shorten_apart(texts, width) == short


@given(st.lists(ANY_TEXT), st.integers(min_value=0, max_value=30))
def test_names_shortened_together_fit(texts: list[str], width: int) -> None:
    assert all(display_width(text) <= width for text in shorten_apart(texts, width))


@given(ANY_TEXT, st.integers(min_value=0, max_value=30))
def test_shortened_text_fits(text: str, width: int) -> None:
    assert display_width(shorten(text, width)) <= width
    assert display_width(cut(one_line(text), width)) <= width


@pytest.mark.parametrize(
    ("text", "width", "most", "lines"),
    [
        ("", 10, 3, []),
        ("one two three", 20, 3, ["one two three"]),
        ("one two three", 8, 3, ["one two", "three"]),
        ("one two three", 7, 3, ["one two", "three"]),
        ("one two three", 6, 3, ["one", "two", "three"]),
        ("one two three four", 7, 2, ["one two", "thre..."]),
        ("abcdefghij", 4, 3, ["abcd", "efgh", "ij"]),
        ("one\ntwo", 20, 3, ["one two"]),
        ("one two", 3, 1, ["..."]),
        ("\u65e5\u672c", 1, 2, ["\u65e5", "."]),
        ("one two three four", 7, None, ["one two", "three", "four"]),
    ],
)
def test_text_is_wrapped_at_spaces(text: str, width: int, most: int | None, lines: list[str]) -> None:
    assert wrap(text, width, most) == lines


@given(ANY_TEXT, st.integers(min_value=2, max_value=30), st.integers(min_value=1, max_value=5))
def test_wrapped_text_fits_and_is_complete_unless_it_says_so(text: str, width: int, most: int) -> None:
    lines = wrap(text, width, most)
    assert len(lines) <= most
    # A mark that combines with nothing takes no column.
    assert all(line and display_width(line) <= width for line in lines)
    if len(lines) < most:
        assert "".join(lines).replace(" ", "") == one_line(text).replace(" ", "")


def test_a_table_is_aligned_by_columns_of_the_terminal() -> None:
    assert table([("A", "B"), ("\u65e5\u672c", "x"), ("abcde", "")]) == ["A      B", "\u65e5\u672c   x", "abcde"]


@given(ANY_TEXT)
@example("- item")
@example("1. item")
@example("12) item")
@example("+")
@example("# title #")
@example("> quote")
@example("a | b \\| c \\\\| d")
@example("![image](http://x) <script> <http://x> &lt; &#60; **b** __b__ ~~s~~ `c` ``d``")
@example("[text]: http://x")
@example("---")
@example("===")
def test_text_in_markdown_is_shown_as_it_is_wherever_it_stands(text: str) -> None:
    escaped = markdown_text(text)
    expected = one_line(text) or "-"
    for source, blocks in (
        (escaped, ["paragraph_open", "inline", "paragraph_close"]),
        (f"### {escaped}", ["heading_open", "inline", "heading_close"]),
        (
            f"- {escaped}",
            [
                *("bullet_list_open", "list_item_open"),
                *("paragraph_open", "inline", "paragraph_close"),
                *("list_item_close", "bullet_list_close"),
            ],
        ),
    ):
        tokens = MARKDOWN.parse(source)
        assert [token.type for token in tokens] == blocks
        assert {token.type for token in inline(tokens)} == {"text"}
        assert "".join(token.content for token in inline(tokens)) == expected


@given(st.lists(st.tuples(ANY_TEXT, ANY_TEXT), max_size=4))
def test_cells_do_not_break_their_table(rows: list[tuple[str, str]]) -> None:
    lines = markdown_table(["One", "Two"], [[markdown_text(cell) for cell in row] for row in rows])
    tokens = MARKDOWN.parse("\n".join(lines))
    cells = [token.children or [] for token in tokens if token.type == "inline"]
    assert tokens[0].type == "table_open"
    assert tokens[-1].type == "table_close"
    assert ["".join(child.content for child in cell) for cell in cells] == [
        "One",
        "Two",
        *(one_line(cell) or "-" for row in rows for cell in row),
    ]
    assert {child.type for cell in cells for child in cell} == {"text"}


@pytest.mark.parametrize("text", ["http://evil.example", "see HTTPS://evil.example", "www.evil.example", "WWW.x.y"])
def test_github_finds_no_address_to_link(text: str) -> None:
    # Its parser looks for these in the source.
    assert "://" not in markdown_text(text)
    assert "www." not in markdown_text(text).lower()


@given(ANY_TEXT)
@example("```\n# not a heading\n```")
@example("~~~~")
@example("`````")
def test_a_block_shows_the_text_and_ends_where_it_should(text: str) -> None:
    tokens = MARKDOWN.parse("\n".join(["before", "", *markdown_block(text), "", "after"]))
    assert [token.type for token in tokens if token.level == 0] == [
        "paragraph_open",
        "paragraph_close",
        "fence",
        "paragraph_open",
        "paragraph_close",
    ]
    (fence,) = (token for token in tokens if token.type == "fence")
    assert fence.info == "text"
    assert fence.content == clean(text).strip("\n") + "\n"


def test_a_block_says_how_much_it_leaves_out() -> None:
    assert markdown_block("abcdef", "shell", longest=4) == ["```shell", "abcd", "... (2 more characters)", "```"]
