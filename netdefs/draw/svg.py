"""The drawing as SVG, and as PNG made of that."""

from collections.abc import Sequence
from html import escape
from typing import Any

from netdefs.core.errors import InputError
from netdefs.core.optional import require
from netdefs.draw.sheet import LANE, PORT, Box, arrange, boxes, paths, port_width
from netdefs.draw.text import LINE, Text, width

MARGIN, BETWEEN = 16.0, 40.0
COLORS = {"conv": "#2f6fde", "norm": "#7a5bd0", "act": "#d0741d", "pool": "#1f8f86", "join": "#c23a6b",
          "shape": "#77838f", "io": "#2a8a3e", "module": "#1c2430", "other": "#8a7a3b"}  # fmt: skip
FILLS = ("#f5f7fa", "#ffffff")  # of blocks, by turns
FONTS = "Roboto, Helvetica, Arial, 'Liberation Sans', sans-serif"
STYLE = (
    f"text{{font-family:{FONTS};font-size:12px;fill:#1c2430}}.name,.note{{font-weight:bold}}"
    ".faint{font-size:11px;fill:#5d6878}.right{font-size:10.5px;fill:#5d6878}.note{fill:#c26a00}"
    ".dims{font-size:11px;stroke:#fff;stroke-width:3px;paint-order:stroke}"
    ".port,.lane{font-size:11px}.lane{fill:#5d6878}"
    ".wire{fill:none;stroke:#7d8896;stroke-width:1.4}.arrow{fill:#7d8896}.back{stroke-dasharray:5 3}"
    ".block,.card,.pill{stroke:#cdd4dc;fill:#fff}.shelf{stroke:#7d8896;stroke-width:1.4}"
    ".minor{fill:none;stroke:#5d6878;stroke-dasharray:1 3}"
    ".alone{fill:none;stroke:#c26a00;stroke-width:2;stroke-dasharray:5 3}"
)
MOST_PIXELS = 60_000_000
ZOOM = 2.0  # a PNG's pixels for each of the drawing's


def svg(drawings: Sequence[dict[str, Any]]) -> str:
    """Drawings side by side.

    Args:
        drawings: what `describe` made; their `depth` says how deep they are open.
    """
    return _sheet(drawings)[0]


def _sheet(drawings: Sequence[dict[str, Any]]) -> tuple[str, int, int]:
    """The SVG, its width and its height."""
    x, parts, height = MARGIN, [], 0.0
    for data in drawings:
        root = arrange({**data["root"], "label": data["name"], "size": data["title"]}, data["depth"], x, MARGIN)
        x += root.width + BETWEEN
        height = max(height, root.height)
        parts.append(_drawing(root))
    wide, high = round(x - BETWEEN + MARGIN), round(height + 2 * MARGIN)
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{wide}" height="{high}" viewBox="0 0 {wide} {high}">\n'
    paper = f'<style>{STYLE}</style>\n<rect width="{wide}" height="{high}" fill="#fff"/>\n'
    return f"{head}{paper}{''.join(parts)}</svg>\n", wide, high


def png(drawings: Sequence[dict[str, Any]]) -> bytes:
    """The same as pixels, twice as fine. The font is always the same, so that the same network gives the same bytes.

    Raises:
        InputError: it would be too large.
        MissingPackageError: a package is not installed.
    """
    resvg, roboto = require("resvg_py", "draw"), require("font_roboto", "draw")
    text, wide, high = _sheet(drawings)
    zoom = next((z for z in (ZOOM, 1.0, 0.5) if wide * high * z * z <= MOST_PIXELS), None)
    if zoom is None:
        raise InputError(
            f"The drawing has {wide} x {high} points, which is too much for a .png. Give a smaller depth, or write "
            ".svg or .html, which have no such limit."
        )
    # Roboto lacks the arrow. Names of other fonts would leave their text out: there are none.
    text = text.replace("→", "-&gt;").replace(FONTS, "Roboto")
    return bytes(
        resvg.svg_to_bytes(
            svg_string=text,
            skip_system_fonts=True,
            font_files=[roboto.Roboto, roboto.RobotoBold],
            font_family="Roboto",
            background="#ffffff",
            zoom=zoom,
        )
    )


def _drawing(root: Box) -> str:
    parts: list[str] = []
    depths = {id(root): 0}
    for box in boxes(root):
        for inner in box.inside:
            depths[id(inner)] = depths[id(box)] + 1
        parts.append(_block(box, depths[id(box)]) if box.open else _card(box))
    return "".join(parts)


def _block(box: Box, depth: int) -> str:
    node = box.node
    x, y = box.x, box.y
    name_width = width(node["label"], bold=True)
    parts = [
        f"<g><title>{escape(node['path'] or node['label'])}</title>",
        f'<rect class="block" x="{x:g}" y="{y:g}" width="{box.width:g}" height="{box.height:g}" rx="9" '
        f'style="fill:{FILLS[depth % 2]}"/>',
        _text(x + 12, y + 16, node["label"], "name", name_width),
        _text(x + 12 + name_width + 8, y + 16, "  ".join(filter(None, (node["type"], node["size"]))), "faint"),
        "</g>\n",
    ]
    if node["partner"] == "":
        parts.append(_alone(box, 9))
    lines = list(paths(box))
    for path in lines:
        title = f"<title>{escape(path.tensor)}</title>"
        parts.append(f'<g>{title}<path class="wire{" back" if path.back else ""}" d="{path.way}"/>')
        parts.append(f'<path class="arrow" d="{path.arrows}"/></g>\n' if path.arrows else "</g>\n")
    for side, row in (("in", 0), ("out", node["rows"] + 1)):
        for i, value in enumerate(node[side]):
            parts.append(_pill(box.at(side, i), box.top(row), node["dims"][value["name"]]))
    for tensor, first, last, column in node["lanes"]:
        text, room = node["dims"][tensor], box.bottom(last) - box.top(first)
        size = width(text, 11)
        if size + 8 < room:
            left, upper = box.middle(column) - LANE / 2 + 2, box.top(first) + 6
            parts.append(
                f'<text class="lane" transform="translate({left:g} {upper:g}) rotate(90)" '
                f'textLength="{size:.0f}" lengthAdjust="spacingAndGlyphs">{escape(text)}</text>\n'
            )
    parts += [_text(path.label[0], path.label[1], path.label[2], "dims", size=11) for path in lines if path.label]
    return "".join(parts)


def _card(box: Box) -> str:
    node, x, y = box.node, box.x, box.y
    radius = 14 if node["family"] == "io" else 6
    parts = [
        f"<g><title>{escape(node['path'])}</title>",
        f'<rect class="card" x="{x:g}" y="{y:g}" width="{box.width:g}" height="{box.height:g}" rx="{radius}"/>',
        f'<path d="M{x + 5:g} {y:g}h-1a4 4 0 0 0 -4 4v{box.height - 8:g}a4 4 0 0 0 4 4h1z" '
        f'fill="{COLORS[node["family"]]}"/>',
    ]
    if node["kind"] == "block":
        parts.append(f'<path class="shelf" d="M{x + 6:g} {y + box.height + 2:g}h{box.width - 12:g}"/>')
    for i, line in enumerate(box.lines):
        parts.append(_line(line, x + 12, y + 15 + LINE * i, box.width))
    if node["partner"] == "":
        parts.append(_alone(box, radius))
    return "".join(parts) + "</g>\n"


def _line(line: Text, x: float, y: float, wide: float) -> str:
    text = _text(x, y, line.text, line.style, size=11 if line.style == "faint" else 12)
    if line.right:
        text += f'<text class="right" text-anchor="end" x="{x + wide - 22:g}" y="{y:g}">{escape(line.right)}</text>'
    return text


def _text(x: float, y: float, text: str, style: str, known: float | None = None, size: float = 12.0) -> str:
    """A text that is as wide as was planned, whatever font there is."""
    wide = known if known is not None else width(text, 11 if style == "faint" else size, style in ("name", "note"))
    return (
        f'<text class="{style}" x="{x:g}" y="{y:g}" textLength="{wide:.0f}" lengthAdjust="spacingAndGlyphs">'
        f"{escape(text)}</text>\n"
    )


def _pill(x: float, y: float, text: str) -> str:
    wide = port_width(text)
    return (
        f'<rect class="pill" x="{x - wide / 2:g}" y="{y:g}" width="{wide:g}" height="{PORT:g}" rx="8.5"/>'
        f"{_text(x - wide / 2 + 7, y + 12.5, text, 'port', wide - 14)}"
    )


def _alone(box: Box, radius: float) -> str:
    style = "minor" if box.node.get("minor") else "alone"
    return (
        f'<rect class="{style}" x="{box.x - 2:g}" y="{box.y - 2:g}" width="{box.width + 4:g}" '
        f'height="{box.height + 4:g}" rx="{radius + 2:g}"/>\n'
    )
