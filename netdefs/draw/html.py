"""The drawing as a page of its own, and its parts for other pages."""

import html
from collections.abc import Sequence
from typing import Any, NamedTuple

from netdefs.draw.data import asset, script_json

SCRIPTS = ("draw.js", "choice.js", "wires.js", "hands.js", "panel.js")


class Assets(NamedTuple):
    """What a page needs for drawings: `css` for a <style>, `js` for a <script>, which defines `netdefsDraw`."""

    css: str
    js: str


def assets() -> Assets:
    """Style and script of the drawing; nothing in them is fetched from elsewhere."""
    parts = "\n".join(asset(name) for name in SCRIPTS)
    start = "return (container, data, options = {}) => new Drawing(container, data, options);"
    return Assets(asset("draw.css"), f'const netdefsDraw = (() => {{\n"use strict";\n{parts}\n{start}\n}})();\n')


def page(drawings: Sequence[dict[str, Any]]) -> str:
    """A self-contained page with drawings side by side.

    Args:
        drawings: what `describe` made.
    """
    title = html.escape(" and ".join(data["name"] for data in drawings))
    css, js = assets()
    if len(drawings) == 1:
        head = f"<h1>{title}</h1><span>{html.escape(drawings[0]['title'])}</span>"
        names = [""]
    else:
        head = f"<h1>{title}</h1><span>{html.escape(drawings[0].get('matched', ''))}</span>"
        names = [f"<h2>{html.escape(data['name'])}: {html.escape(data['title'])}</h2>" for data in drawings]
    sections = "".join(f'<section>{name}<div id="drawing-{i}"></div></section>' for i, name in enumerate(names))
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{title}</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<style>\n{css}\n{asset('page.css')}</style>\n</head>\n<body>\n"
        f'<header>{head}<button type="button" class="theme">light / dark</button></header>\n'
        f"<main>{sections}</main>\n<noscript>The drawing needs JavaScript; netdefs draws .svg, too.</noscript>\n"
        f'<script type="application/json" id="drawings">{script_json(list(drawings))}</script>\n'
        f"<script>\n{js}\n{asset('page.js')}</script>\n</body>\n</html>\n"
    )
