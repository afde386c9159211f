# Copyright (c) 2026, The community.paperspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The page of a run as a Jinja2 template, with its style and its script. The page loads nothing else."""

from __future__ import annotations

STYLE = """
:root {
  --page: #f5f6f8; --card: #fff; --text: #1b2128; --soft: #59636e; --line: #dce1e7; --lane: #eef1f4;
  --ok: #1a7440; --failed: #b3261e; --unreachable: #7b3fa0; --incomplete: #8a5700; --untouched: #57606a;
  --none: #6b7480; --running: #1f5fbf;
  --snapshot: #6d7f93; --maintenance: #2b66c9; --rollback: #c2570c; --reconnect: #0f857a;
}
@media screen {
  :root { color-scheme: light dark; }
}
@media screen and (prefers-color-scheme: dark) {
  :root {
    --page: #0f1318; --card: #171c23; --text: #e5e9ee; --soft: #9ba7b4; --line: #2b333d; --lane: #232a33;
    --ok: #52c47f; --failed: #ff8a80; --unreachable: #cd9cf2; --incomplete: #e3b04b; --untouched: #a3adb8;
    --none: #95a0ac; --running: #7fb0ff;
    --snapshot: #8798ab; --maintenance: #5f9bff; --rollback: #f08a44; --reconnect: #3fbfb2;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; text-size-adjust: 100%; scroll-padding-top: 8rem; }
body {
  margin: 0 auto; padding: 2.5rem 2rem 4rem; max-width: 76rem; background: var(--page); color: var(--text);
  font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "Liberation Sans", Arial, sans-serif;
  font-variant-numeric: tabular-nums; overflow-wrap: anywhere;
}
h1, h2, h3, p, ul, ol, dl, dd, pre, fieldset, table { margin: 0; padding: 0; }
h1 { font-size: 1.75rem; line-height: 1.2; letter-spacing: -0.01em; }
h2 { font-size: 1.125rem; margin-bottom: 0.75rem; }
ul, ol { list-style: none; }
a { display: inline-block; color: inherit; text-underline-offset: 0.2em; }
:focus-visible { outline: 2px solid var(--running); outline-offset: 2px; }
pre, code { font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, "Liberation Mono", monospace; }
pre {
  padding: 0.6rem 0.8rem; max-height: 22rem; overflow: auto; background: var(--lane); border-radius: 0.4rem;
  font-size: 0.8125rem; line-height: 1.5; white-space: pre-wrap;
}
header { margin-bottom: 2rem; }
.above { color: var(--soft); font-size: 0.875rem; }
.name { display: flex; flex-wrap: wrap; align-items: center; gap: 0.5rem 1rem; }
.status { padding: 0.1rem 0.8rem 0.1rem 0.5rem; border: 1.5px solid; border-radius: 1rem; }
.ending { margin-top: 0.6rem; max-width: 56rem; font-size: 1.0625rem; }
section {
  margin-top: 1rem; padding: 1.25rem 1.5rem 1.5rem; background: var(--card); border: 1px solid var(--line);
  border-radius: 0.75rem;
}
.alert { border-left: 0.3rem solid var(--failed); }
.alert ul { list-style: disc; padding-left: 1.1rem; }
.alert li + li { margin-top: 0.35rem; }
.commands p { margin-top: 0.9rem; }
.commands p:first-of-type { margin-top: 0; }
.commands pre { margin-top: 0.35rem; user-select: all; }
.commands span { white-space: pre; }

.v { font-weight: 600; white-space: nowrap; }
.v::before { display: inline-block; width: 1.25em; content: "\\00b7"; text-align: left; }
.ok .v, .v.ok { color: var(--ok); }
.ok .v::before, .v.ok::before { content: "\\2713"; }
.failed .v, .v.failed { color: var(--failed); }
.failed .v::before, .v.failed::before { content: "\\2717"; }
.unreachable .v, .v.unreachable { color: var(--unreachable); }
.unreachable .v::before, .v.unreachable::before { content: "\\2298"; }
.incomplete .v, .v.incomplete { color: var(--incomplete); }
.incomplete .v::before, .v.incomplete::before { content: "\\25d0"; }
.untouched .v, .v.untouched { color: var(--untouched); }
.untouched .v::before, .v.untouched::before { content: "\\2013"; }
.none .v, .v.none { color: var(--none); }
.v.running { color: var(--running); }
.v.running::before { content: "\\25d0"; }

.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(6.5rem, 1fr)); gap: 1rem 1.5rem; }
.tiles b { display: block; font-size: 2rem; line-height: 1.2; font-weight: 600; letter-spacing: -0.02em; }
.tiles .v { font-size: 0.9375rem; }
.tiles .all { color: var(--soft); font-size: 0.9375rem; }
.share { display: block; width: 100%; height: 0.5rem; margin: 1rem 0; border-radius: 0.25rem; background: var(--lane); }
.share .ok { fill: var(--ok); }
.share .failed { fill: var(--failed); }
.share .unreachable { fill: var(--unreachable); }
.share .incomplete { fill: var(--incomplete); }
.share .untouched { fill: var(--untouched); }
.share .none { fill: var(--none); }
.share rect { stroke: var(--card); stroke-width: 1.5px; }
.words { color: var(--soft); }
.words + .words { margin-top: 0.35rem; }

.filter { display: flex; flex-wrap: wrap; align-items: center; gap: 0.75rem 1rem; margin-bottom: 1rem; }
.filter[hidden] { display: none; }
.filter fieldset { display: flex; flex-wrap: wrap; gap: 0.4rem; border: 0; min-width: 0; }
.filter legend { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
.filter label { position: relative; }
.filter label input { position: absolute; inset: 0; opacity: 0; margin: 0; cursor: pointer; }
.filter label span {
  display: block; padding: 0.3rem 0.75rem; border: 1px solid var(--line); border-radius: 1rem; font-size: 0.875rem;
}
.filter label small { color: var(--soft); font-size: inherit; }
.filter input:checked + span { background: var(--text); border-color: var(--text); color: var(--card); }
.filter input:checked + span small { color: inherit; opacity: 0.8; }
.filter input:focus-visible + span { outline: 2px solid var(--running); outline-offset: 2px; }
.filter input[type="search"] {
  flex: 1 1 14rem; min-width: 0; max-width: 22rem; padding: 0.3rem 0.75rem; border: 1px solid var(--line);
  border-radius: 1rem; background: var(--card); color: var(--text); font: inherit; font-size: 0.875rem;
}
.filter ::placeholder { color: var(--soft); opacity: 1; }
.filter output { color: var(--soft); font-size: 0.875rem; }

.n3 { --columns: 3; } .n4 { --columns: 4; } .n5 { --columns: 5; } .n6 { --columns: 6; }
.head, .machines > li {
  display: grid; grid-template-columns: minmax(9rem, 1.3fr) minmax(10rem, 1.2fr) minmax(16rem, 2fr); column-gap: 1.5rem;
}
.head {
  align-items: end; color: var(--soft); font-size: 0.8125rem; padding: 0.5rem 0; border-bottom: 1px solid var(--line);
}
.legend { grid-column: 1 / 3; display: flex; flex-wrap: wrap; gap: 0.25rem 1rem; }
.legend li { display: flex; align-items: center; gap: 0.4rem; }
.legend svg { width: 1.5rem; }
.axis { grid-column: 3; display: grid; grid-template-columns: repeat(var(--columns), minmax(0, 1fr)); }
.axis li { padding-left: 0.3rem; border-left: 1px solid var(--line); white-space: nowrap; }
.machines > li { padding: 0.7rem 0; align-items: start; }
.machines > li + li { border-top: 1px solid var(--line); }
.machines > li[hidden] { display: none; }
.machines > li:target { background: var(--lane); box-shadow: 0 0 0 0.5rem var(--lane); }
.machines h3 { font-size: 0.9375rem; font-weight: 600; }
.what { font-size: 0.9375rem; }
.small { color: var(--soft); font-size: 0.8125rem; }
.machines > li > .bar { align-self: center; }
.bar {
  display: block; width: 100%; height: 12px; overflow: visible;
  border-radius: 0.15rem; background-color: var(--lane);
  background-image: linear-gradient(to right, var(--line) 1px, transparent 1px);
  background-size: calc(100% / var(--columns, 1)) 100%;
}
.legend .bar { background: none; }
rect.snapshot { y: 3px; height: 6px; fill: var(--snapshot); }
rect.maintenance { y: 0; height: 12px; fill: var(--maintenance); }
rect.rollback { y: 0; height: 12px; fill: url(#undone); }
rect.reconnect { y: 4px; height: 4px; fill: var(--reconnect); }
rect.open { opacity: 0.55; }
#undone rect { fill: var(--rollback); }
#undone path { stroke: var(--card); stroke-width: 1.5px; }
.store { position: absolute; width: 0; height: 0; }
.story {
  grid-column: 1 / -1; margin-top: 0.5rem; padding-left: 0.9rem; border-left: 0.2rem solid var(--line);
  font-size: 0.9375rem;
}
.bad .story { border-color: var(--none); }
.failed.bad .story { border-color: var(--failed); }
.unreachable.bad .story { border-color: var(--unreachable); }
.incomplete.bad .story { border-color: var(--incomplete); }
.story pre { margin: 0.35rem 0 0.6rem; }
.story > :last-child { margin-bottom: 0; }

table { width: 100%; border-collapse: collapse; font-size: 0.875rem; }
th { color: var(--soft); font-weight: 400; text-align: left; }
th, td:not(:nth-child(2)) { overflow-wrap: normal; }
th, td { padding: 0.4rem 1rem 0.4rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
tr:last-child td { border-bottom: 0; }
.facts { display: grid; grid-template-columns: max-content minmax(0, 1fr); gap: 0.35rem 1.5rem; font-size: 0.9375rem; }
dt { color: var(--soft); }
footer { margin-top: 1.5rem; color: var(--soft); font-size: 0.8125rem; }

@media screen {
  .machines > li { content-visibility: auto; contain-intrinsic-size: auto 4.2rem; }
  .head { position: sticky; top: 0; z-index: 1; background: var(--card); }
}
@media screen and (max-width: 50rem) {
  body { padding: 1.25rem 0.75rem 3rem; }
  h1 { font-size: 1.375rem; }
  section { padding: 1rem 1rem 1.25rem; }
  .head, .machines > li { grid-template-columns: minmax(0, 1fr); }
  .legend, .axis { grid-column: 1; }
  .axis { font-size: 0.75rem; }
  .legend { margin-bottom: 0.4rem; }
  .machines > li > .bar { order: 1; margin: 0.35rem 0 0.25rem; }
  .took { order: 2; }
  .story { order: 3; }
  .facts { grid-template-columns: minmax(0, 1fr); gap: 0; }
  dd { margin-bottom: 0.6rem; }
  th, td { padding-right: 0.6rem; }
  .filter input[type="search"] { max-width: none; }
}
@media print {
  @page { margin: 14mm; }
  :root { --page: #fff; --lane: #f3f4f6; }
  html { font-size: 9.5pt; print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  body { max-width: none; padding: 0; }
  header { margin-bottom: 5mm; }
  section { padding: 3mm 0 4mm; border: 0; border-top: 1px solid var(--line); border-radius: 0; }
  .alert { padding-left: 4mm; border-left: 0.3rem solid var(--failed); }
  .filter fieldset, .filter input[type="search"] { display: none; }
  pre { max-height: none; overflow: visible; border: 1px solid var(--line); }
  h2, .filter, .head { break-after: avoid; }
  .filter { margin: 0; }
  .machines > li, tr { break-inside: avoid; }
  .head, .machines > li { grid-template-columns: minmax(0, 0.8fr) minmax(0, 1.1fr) minmax(0, 1.6fr); }
}
@media (forced-colors: active) {
  .bar, .share { forced-color-adjust: none; }
}
"""

# Without it everything is shown.
SCRIPT = """
(() => {
  "use strict";
  const filter = document.getElementById("filter");
  if (!filter) return;
  const rows = Array.from(document.querySelectorAll("#machines > li"));
  const count = document.getElementById("count");
  const texts = new Map();
  const textOf = (row) => {
    if (!texts.has(row)) texts.set(row, row.textContent.toLowerCase());
    return texts.get(row);
  };
  const apply = () => {
    const verdict = filter.elements.verdict.value;
    const words = filter.elements.words.value.trim().toLowerCase();
    let shown = 0;
    for (const row of rows) {
      const fits = (!verdict || row.classList.contains(verdict)) && (!words || textOf(row).includes(words));
      row.hidden = !fits;
      shown += fits;
    }
    count.textContent = shown === rows.length ? "" : `${shown} of ${rows.length} shown`;
  };
  const follow = () => {
    const row = document.getElementById(location.hash.slice(1));
    if (row && row.hidden) {
      filter.reset();
      apply();
      row.scrollIntoView();
    }
  };
  filter.addEventListener("input", apply);
  filter.addEventListener("submit", (event) => event.preventDefault());
  addEventListener("hashchange", follow);
  filter.hidden = false;
  apply();
  follow();
})();
"""

TEMPLATE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{{ policy }}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer">
<meta name="robots" content="noindex">
<title>{{ status }}: maintenance run {{ run_id }}</title>
<style>{{ style }}</style>
</head>
<body>
<svg class="store" aria-hidden="true"><defs>
<pattern id="undone" width="6" height="12" patternUnits="userSpaceOnUse"><rect width="6" height="12"/>
<path d="M-1 7 7 -1 M-1 13 7 5 M3 15 9 9"/></pattern>
</defs></svg>

<header>
<p class="above">Maintenance run</p>
<div class="name"><h1>{{ run_id }}</h1><p class="v status {{ status_class }}">{{ status }}</p></div>
<p class="ending">{{ ending | join(" ") }}</p>
</header>

<main>
<section aria-labelledby="totals">
<h2 id="totals">Totals</h2>
<ul class="tiles">
<li><b>{{ machines | length }}</b>
<span class="all">{{ "machine" if machines | length == 1 else "machines" }}</span></li>
{% for total in totals %}
<li><b>{{ total.count }}</b><span class="v {{ total.name }}">{{ total.words }}</span></li>
{% endfor %}
</ul>
{% if totals %}
<svg class="share" aria-hidden="true">
{% for total in totals %}
<rect class="{{ total.name }}" x="{{ total.x }}%" width="{{ total.width }}%" height="100%"/>
{% endfor %}
</svg>
<p class="words">{{ counts | join(", ") }}.</p>
{% endif %}
{% if bad %}
<p class="words">Not ok:
{% for machine in bad %}
<a href="#m{{ machine.number }}">{{ machine.host }}</a>{{ "" if loop.last else "," }}
{% endfor %}
{{- " and %d more" % bad_left if bad_left }}</p>
{% endif %}
</section>

{% if problems %}
<section class="alert" aria-labelledby="problems">
<h2 id="problems">Problems</h2>
<ul>
{% for problem in problems %}
<li>{{ problem }}</li>
{% endfor %}
</ul>
</section>
{% endif %}

{% if open_sentences %}
<section class="alert commands" aria-labelledby="todo">
<h2 id="todo">What to do</h2>
{% for sentence in open_sentences %}
<p>{{ sentence }}</p>
{% endfor %}
{% for what, command in commands %}
<p>{{ what }}:</p>
<pre><code>{% for word in command %}<span>{{ word }}</span>{{ "" if loop.last else " " }}{% endfor %}</code></pre>
{% endfor %}
</section>
{% endif %}

{% if machines %}
<section aria-labelledby="timeline">
<h2 id="timeline">Machines</h2>
<form class="filter" id="filter" autocomplete="off" hidden>
<fieldset>
<legend>Which machines to show</legend>
{% for choice in choices %}
<label><input type="radio" name="verdict" value="{{ choice.name }}"{{ " checked" if loop.first }}>
<span>{{ choice.words }} <small>{{ choice.count }}</small></span></label>
{% endfor %}
</fieldset>
<input type="search" name="words" placeholder="Host, task or message" aria-label="Show machines with this text">
<output id="count"></output>
</form>
<div class="n{{ axis | length or 3 }}">
{% if axis %}
<div class="head">
<ul class="legend">
{% for phase in phases %}
<li><svg class="bar" aria-hidden="true"><rect class="{{ phase }}" width="100%"/></svg>{{ phase }}</li>
{% endfor %}
</ul>
<ol class="axis" aria-hidden="true">
{% for label in axis %}
<li>{{ label }}</li>
{% endfor %}
</ol>
</div>
{% endif %}
<ol class="machines" id="machines">
{% for machine in machines %}
<li id="m{{ machine.number }}" class="{{ machine.classes }}">
<h3>{{ machine.host }}</h3>
<p class="what"><span class="v">{{ machine.verdict }}</span> {{ machine.what }}</p>
<svg class="bar" aria-hidden="true">
{%- for bar in machine.bars %}
<rect class="{{ bar.name }}" x="{{ bar.x }}%" width="{{ bar.width }}%"/>
{%- endfor -%}
</svg>
<p class="small ids">{{ machine.ids }}</p>
<p class="small kept">{{ machine.snapshot }}</p>
<p class="small took">{{ machine.took }}</p>
{% if machine.story %}
<div class="story">
{% for paragraph, message in machine.story %}
<p>{{ paragraph }}</p>
{% if message is not none %}
<pre>{{ message }}</pre>
{% endif %}
{% endfor %}
</div>
{% endif %}
</li>
{% endfor %}
</ol>
</div>
</section>
{% endif %}

{% if children %}
<section aria-labelledby="playbooks">
<h2 id="playbooks">Playbooks that were run</h2>
<table>
<thead><tr>
{% for name in ("Wave", "Playbook", "Exit code", "Began", "Took") %}
<th scope="col">{{ name }}</th>
{% endfor %}
</tr></thead>
<tbody>
{% for child in children %}
<tr>{% for cell in child %}<td>{{ cell }}</td>{% endfor %}</tr>
{% endfor %}
</tbody>
</table>
</section>
{% endif %}

<section aria-labelledby="facts">
<h2 id="facts">About the run</h2>
<dl class="facts">
{% for name, value in facts %}
<dt>{{ name }}</dt><dd>{{ value }}</dd>
{% endfor %}
</dl>
</section>
</main>

<footer><p>All times are UTC. For programs, the same is in {{ run_id }}.json.</p></footer>
<script>{{ script }}</script>
</body>
</html>
"""
