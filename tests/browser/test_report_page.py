# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The page of a run's report, as people see it. With SCREENSHOTS=folder, what is seen is kept there."""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from ansible_collections.community.paperspace.plugins.plugin_utils._report import RunReport
from ansible_collections.community.paperspace.plugins.plugin_utils._text import clean, one_line
from browser.chromium import Browser
from report_samples import HOSTILE_TEXTS, RUN, hostile_run, large_run, small_run

PHONE, DESKTOP = 390, 1280
SAMPLES: dict[str, Callable[[], RunReport]] = {
    "small": small_run,
    "large": large_run,
    "hostile": hostile_run,
    "empty": lambda: RunReport(RUN),
}
SHOWN = "Array.from(document.querySelectorAll('#machines > li')).filter((row) => row.checkVisibility())"
CHOICE = "document.querySelector('input[name=verdict][value={}]')"
WORDS = "document.querySelector('input[name=words]')"

# What is looked at one by one. Of many machines some will do: to look at all takes long.
ELEMENTS = """
Array.from(document.body.querySelectorAll("*")).filter(
  (element) => !element.closest("script, style, #machines > :nth-child(n+60)") && element.checkVisibility()
)
"""
# What a text that scrolls by itself consists of may be wider.
OUTSIDE = f"""
{ELEMENTS}.filter((element) => !element.closest("pre *") && element.getBoundingClientRect().right > innerWidth)
  .map((element) => element.outerHTML)
"""
# Each colour of text against the first background below it that is not transparent, as WCAG 2 counts it.
WORST_CONTRAST = """
(() => {
  const channels = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const light = (colour) => {
    const parts = channels(colour).slice(0, 3).map((part) => part / 255);
    const [r, g, b] = parts.map((part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (element) => {
    for (let each = element; each; each = each.parentElement) {
      const colour = getComputedStyle(each).backgroundColor;
      if ((channels(colour)[3] ?? 1) > 0) return colour;
    }
    return "rgb(255, 255, 255)";
  };
  let worst = [21, ""];
  for (const element of ELEMENTS) {
    const hasText = Array.from(element.childNodes).some((node) => node.nodeType === 3 && node.data.trim());
    if (!hasText) continue;
    const [first, second] = [light(getComputedStyle(element).color), light(ground(element))].sort((a, b) => b - a);
    const contrast = (first + 0.05) / (second + 0.05);
    if (contrast < worst[0]) worst = [contrast, element.textContent];
  }
  return worst;
})()
""".replace("ELEMENTS", ELEMENTS)


def written(folder: Path, sample: str) -> str:
    """The address of the page of a sample."""
    path = folder / f"{sample}.html"
    path.write_text(SAMPLES[sample]().to_html(), encoding="utf-8")
    return path.as_uri()


def album(folder: Path) -> Path:
    kept = Path(os.environ.get("SCREENSHOTS") or folder)
    kept.mkdir(parents=True, exist_ok=True)
    return kept


def shown_hosts(browser: Browser) -> list[str]:
    hosts: list[str] = browser.value(f"{SHOWN}.map((row) => row.querySelector('h3').textContent)")
    return hosts


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [PHONE, DESKTOP])
@pytest.mark.parametrize("sample", SAMPLES)
def test_page_fits_its_window_and_has_nothing_to_complain_of(
    browser: Browser, tmp_path: Path, sample: str, width: int, scheme: str
) -> None:
    address = written(tmp_path, sample)
    browser.look_like(width=width, scheme=scheme)
    browser.open(address)
    assert browser.value("document.documentElement.scrollWidth") == width
    assert browser.value(OUTSIDE) == []
    assert len(shown_hosts(browser)) == len(SAMPLES[sample]().machines)
    png = browser.screenshot(album(tmp_path) / f"{sample}-{width}-{scheme}.png", whole=sample == "small")
    seen_width, seen_height = struct.unpack(">II", png[16:24])
    assert seen_width == width
    assert seen_height >= 844
    contrast, text = browser.value(WORST_CONTRAST)
    assert contrast >= 4.5, text
    assert browser.console == []
    assert set(browser.addresses) == {address}


@pytest.mark.parametrize("sample", ["small", "large"])
def test_dark_is_dark_and_light_is_light(browser: Browser, tmp_path: Path, sample: str) -> None:
    address = written(tmp_path, sample)
    grounds = []
    for scheme in ("light", "dark"):
        browser.look_like(width=DESKTOP, scheme=scheme)
        browser.open(address)
        ground = browser.value("getComputedStyle(document.body).backgroundColor")
        grounds.append(sum(map(int, re.findall(r"\d+", ground))) / 3)
    assert grounds[0] > 200
    assert grounds[1] < 60


@pytest.mark.parametrize("width", [PHONE, DESKTOP])
@pytest.mark.parametrize("sample", ["small", "large"])
def test_machines_can_be_filtered_by_verdict_and_by_text(
    browser: Browser, tmp_path: Path, sample: str, width: int
) -> None:
    machines = SAMPLES[sample]().machines
    browser.look_like(width=width)
    browser.open(written(tmp_path, sample))
    for verdict in sorted({machine.verdict for machine in machines if machine.verdict}):
        browser.click(CHOICE.format(verdict))
        assert shown_hosts(browser) == [machine.host for machine in machines if machine.verdict == verdict]
    browser.click(CHOICE.format("bad"))
    bad = [machine.host for machine in machines if not machine.is_good]
    assert shown_hosts(browser) == bad
    assert browser.value("document.getElementById('count').value") == f"{len(bad)} of {len(machines)} shown"
    browser.screenshot(album(tmp_path) / f"{sample}-{width}-not-ok.png")

    browser.click(WORDS)
    browser.write(bad[1].upper())
    assert shown_hosts(browser) == [bad[1]]
    browser.value(f"{WORDS}.select()")
    browser.write("no such text")
    assert shown_hosts(browser) == []
    assert browser.value("document.getElementById('count').value") == f"0 of {len(machines)} shown"
    assert browser.console == []


def test_failing_task_and_message_can_be_searched_and_are_shown(browser: Browser, tmp_path: Path) -> None:
    browser.open(written(tmp_path, "small"))
    browser.click(WORDS)
    browser.write("unable to locate")
    assert shown_hosts(browser) == ["db1"]
    story = browser.value(f"{SHOWN}[0].querySelector('.story').innerText")
    assert "It failed in the task Upgrade the application:" in story
    assert "stderr: E: Unable to locate package app\n        E: Sub-process" in story


def test_filter_is_worked_by_the_keyboard(browser: Browser, tmp_path: Path) -> None:
    browser.open(written(tmp_path, "small"))
    browser.value("document.querySelector('input[name=verdict]').focus()")
    key = {"key": "ArrowRight", "code": "ArrowRight", "windowsVirtualKeyCode": 39}
    for kind in ("rawKeyDown", "keyUp"):
        browser.ask("Input.dispatchKeyEvent", type=kind, **key)
    assert shown_hosts(browser) == ["db1", "web2"]


def test_link_to_a_machine_that_is_filtered_out_shows_it_again(browser: Browser, tmp_path: Path) -> None:
    browser.open(written(tmp_path, "large"))
    browser.click(CHOICE.format("ok"))
    assert "web-0007.prod.example.org" not in shown_hosts(browser)
    browser.click("document.querySelector('a[href=\"#m7\"]')")
    browser.value("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(0))))")
    assert len(shown_hosts(browser)) == 2000
    top = browser.value("document.getElementById('m7').getBoundingClientRect().top")
    assert 0 <= top < 844


def test_without_scripts_everything_is_visible_and_no_filter_is(browser: Browser, tmp_path: Path) -> None:
    browser.run_scripts(allowed=False)
    browser.open(written(tmp_path, "large"))
    browser.run_scripts(allowed=True)
    assert len(shown_hosts(browser)) == 2000
    assert browser.value("document.getElementById('filter').checkVisibility()") is False


def test_bars_stand_below_the_labels_of_their_times(browser: Browser, tmp_path: Path) -> None:
    browser.open(written(tmp_path, "small"))
    began, ended = browser.value(
        "(() => { const box = document.querySelector('#m3 rect.rollback').getBoundingClientRect();"
        " return [box.left, box.right]; })()"
    )
    labels = browser.value(
        "Array.from(document.querySelectorAll('.axis li')).map((item) => [item.innerText,"
        " item.getBoundingClientRect().left])"
    )
    assert [text for text, _left in labels] == ["0 min", "2 min", "4 min", "6 min", "8 min", "10 min"]
    lefts = [left for _text, left in labels]
    minute = (lefts[5] - lefts[0]) / 10
    assert began == pytest.approx(lefts[0] + minute * 424 / 60, abs=1.5)
    assert ended == pytest.approx(lefts[0] + minute * 629 / 60, abs=1.5)


def test_no_text_becomes_more_than_text(browser: Browser, tmp_path: Path) -> None:
    browser.open(written(tmp_path, "hostile"))
    assert browser.value("typeof window.hacked") == "undefined"
    assert shown_hosts(browser) == [one_line(text) for text in HOSTILE_TEXTS]
    messages = browser.value(f"{SHOWN}.map((row) => row.querySelector('pre').textContent)")
    assert messages == [clean(text).strip("\n") for text in HOSTILE_TEXTS]
    counts = browser.value(
        "['h1', 'script', 'style', 'title', 'plaintext', 'img', 'b', 'iframe', 'main']"
        ".map((name) => document.getElementsByTagName(name).length)"
    )
    # The b are the totals: all, and one verdict.
    assert counts == [1, 1, 1, 1, 0, 0, 2, 0, 1]
    attributes = browser.value(
        "Array.from(new Set(Array.from(document.querySelectorAll('body *'))"
        ".flatMap((element) => element.getAttributeNames()))).sort()"
    )
    assert not [name for name in attributes if name.startswith("on") or name in ("src", "style", "action")]
    links = browser.value("Array.from(document.querySelectorAll('[href]')).map((link) => link.getAttribute('href'))")
    assert all(re.fullmatch(r"#m\d+", link) for link in links)
    assert browser.console == []


def test_policy_refuses_scripts_that_are_not_the_page_s_own(browser: Browser, tmp_path: Path) -> None:
    browser.open(written(tmp_path, "small"))
    browser.value(
        "(() => { const script = document.createElement('script'); script.textContent = 'window.hacked = 1';"
        " document.body.append(script); })()"
    )
    assert browser.value("typeof window.hacked") == "undefined"
    assert browser.value("fetch('data:,x').then(() => 'loaded', () => 'refused')") == "refused"
    assert any("Content Security Policy" in line for line in browser.console)


@pytest.mark.parametrize("sample", ["small", "large"])
def test_paper_is_white_and_shows_every_machine(browser: Browser, tmp_path: Path, sample: str) -> None:
    browser.look_like(width=718, scheme="dark", media="print")
    browser.open(written(tmp_path, sample))
    assert browser.value("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert browser.value("document.querySelector('.filter fieldset').checkVisibility()") is False
    assert len(shown_hosts(browser)) == len(SAMPLES[sample]().machines)
    assert browser.value("document.documentElement.scrollWidth") == 718
    contrast, text = browser.value(WORST_CONTRAST)
    assert contrast >= 4.5, text
    pdf = browser.print(album(tmp_path) / f"{sample}.pdf")
    pages = len(re.findall(rb"/Type\s*/Page\b", pdf))
    # At most 40 machines fit on a page.
    assert pages >= len(SAMPLES[sample]().machines) / 40
    assert browser.console == []
