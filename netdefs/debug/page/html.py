"""The page itself: the words that need no script, and all that it needs to show the rest."""

import html
from collections.abc import Sequence
from importlib.resources import files
from typing import TYPE_CHECKING

from netdefs.core.version import __version__
from netdefs.debug.page.content import content, drawn
from netdefs.debug.view import grouped
from netdefs.draw import assets, script_json

if TYPE_CHECKING:
    from netdefs.debug.report import Report

SCRIPTS = ("rule", "basics", "overview", "chart", "columns", "table", "pictures", "layer", "network", "page")  # .js
# Nothing may be fetched, whatever a name in the network says.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"
KEYS = {
    "/": "filter",
    "f": "first wrong layer",
    "n p": "next, previous with an error of its own",
    "j k": "next, previous row",
    "Esc": "close",
}


def page(report: "Report") -> str:
    """The report as a self-contained HTML page."""
    name = html.escape(f"{report.name}, {report.precision}")
    drawing, lacking = drawn(report)
    style, script = assets() if drawing else ("", "")
    network = '<div id="network-view"></div>' if drawing else f'<p class="dim">{html.escape(lacking)}</p>'
    data = [f'<script type="application/json" id="report">{script_json(content(report))}</script>']
    if drawing:
        data.append(f'<script type="application/json" id="drawing">{script_json(drawing)}</script>')
    keys = "".join(f"<span><kbd>{'</kbd> <kbd>'.join(key.split())}</kbd> {what}</span> " for key, what in KEYS.items())
    chart = "".join(f'<span><i style="background:{color}"></i>{what}</span>' for what, color in _legend(report.mode))
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{name} against PyTorch</title>
<style>
{style}
{_asset("page.css")}</style>
</head>
<body>
<header class="top"><b>{html.escape(report.name)}</b>
<span>{html.escape(report.precision)}, {len(report.rows)} tensors against PyTorch</span>
<button id="theme" class="plain" title="Colors: as the system has them, light, dark">auto</button></header>
<main>
<section id="verdict"></section>
<section id="chart-area"><h2>Error in execution order<small class="keys">{chart}</small></h2>
<div id="chart"></div></section>
<section id="answers">{_words(report)}</section>
<section id="layers"><h2>Layers<span id="tolerances"></span></h2><div id="table"></div></section>
<section id="network"><h2>The network</h2>{network}</section>
<section id="rest"><h2>More</h2>{_rest(report)}</section>
<aside id="side"><button id="close" class="plain" title="Close">×</button><div id="layer"></div></aside>
</main>
<footer class="keys">{keys}<span>netdefs {__version__}</span></footer>
{"".join(data)}
<script>
{script}</script>
<script>
(() => {{
"use strict";
{"".join(_asset(f"{name}.js") for name in SCRIPTS)}}})();
</script>
</body>
</html>
"""


def _asset(name: str) -> str:
    return files("netdefs.debug.page").joinpath(name).read_text(encoding="utf-8")


def _legend(mode: str) -> list[tuple[str, str]]:
    """What the colors of the chart mean."""
    found = []
    if mode != "isolated":
        found += [
            ("chained, agrees", "light-dark(#c3d3e2, #33465a)"),
            ("chained, wrong", "light-dark(#f5ca7d, #86632a)"),
        ]
    if mode != "chained":
        found += [("isolated, agrees", "light-dark(#3b6ea5, #7fb2e8)"), ("isolated, wrong: its own", "var(--own)")]
    return found


def _words(report: "Report") -> str:
    """The answers, for who has no script; the script replaces them by the same with links."""
    lines = "".join(f"<dt>{html.escape(q)}</dt><dd>{html.escape(a)}</dd>" for q, a in report.answers.items())
    return f'<div class="answers"><dl>{lines}</dl></div>'


def _rest(report: "Report") -> str:
    """Notes, weights that differ, and what was not compared."""
    parts = [_folded("Notes", report.notes, opened=True)]
    weights = [f"{k.key} {k.problem}{f': {k.relation}' if k.relation else ''}" for k in report.weights.keys]
    parts.append(_folded("Weights", weights))
    for reason, names in grouped(report, full=True).items():
        parts.append(_folded(f"Not compared: {reason}", names))
    return "".join(parts) or '<p class="dim">Everything was compared, and there is nothing to note.</p>'


def _folded(title: str, lines: Sequence[str], opened: bool = False) -> str:
    if not lines:
        return ""
    items = "".join(f"<li>{html.escape(line)}</li>" for line in lines)
    return (
        f"<details{' open' if opened else ''}><summary>{html.escape(title)} <span>({len(lines)})</span></summary>"
        f"<ul>{items}</ul></details>"
    )
