"""The curve of a search as a picture, and a study as a page: files that need nothing else to be looked at."""

import html
import math
import os
from collections.abc import Sequence
from pathlib import Path

from netdefs.core.errors import CalibrationError
from netdefs.core.files import atomic_write
from netdefs.quant.search import Proposal
from netdefs.quant.study import Study
from netdefs.quant.view import conclusion, decibel

WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 640, 320, 60, 40, 24
STYLE = "font: 14px/1.5 system-ui, sans-serif; margin: 2em auto; max-width: 60em; padding: 0 1em"
CELL = "text-align: left; padding: 0 2em 0 0"
SUFFIXES = (".json", ".svg", ".html")


def check_suffix(path: str | os.PathLike[str]) -> str:
    """The suffix of a report's file.

    Raises:
        CalibrationError: it is none that there is.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        raise CalibrationError(f"A report is written as {', '.join(SUFFIXES)}, and {path} is none of these.")
    return suffix


def write_page(found: Study, path: str | os.PathLike[str]) -> None:
    """Writes a study as one HTML file."""
    parts = [f"<h1>{html.escape(found.network)}: {html.escape(found.cost.precision)}</h1>"]
    for step, cost in found.costs.items():
        rows = [(each.name, decibel(each.chained)) for each in cost.outputs]
        parts.append(_table(f"{step} against float32, {cost.pictures} pictures", ("output", "SQNR"), rows))
    parts += [f"<p><b>{html.escape(each.kind)}</b> {html.escape(str(each))}</p>" for each in found.troubles]
    if found.proposal is not None:
        parts += ["<h2>Layers kept against accuracy</h2>", curve_svg(found.proposal)]
        parts += [f"<p>{html.escape(line)}</p>" for line in conclusion(found)]
    sensitivity = found.proposal.sensitivity if found.proposal is not None else {}
    lines = [
        (each.name, decibel(each.alone), decibel(each.chained), decibel(sensitivity.get(each.name)))
        for each in found.cost.layers
    ]
    heads = ("layer", "alone", "chained", "outputs, if only this layer is quantized")
    parts.append(_table(f"{found.cost.precision} layers", heads, lines))
    text = f'<!doctype html><meta charset="utf-8"><title>{html.escape(found.network)}</title><body style="{STYLE}">'
    with atomic_write(path) as file:
        file.write((text + "\n".join(parts) + "\n").encode())


def write_curve(found: Study, path: str | os.PathLike[str]) -> None:
    """Writes the curve of a study's search as SVG.

    Raises:
        CalibrationError: no search was asked for.
    """
    if found.proposal is None:
        raise CalibrationError("There is no curve without a search: give a target or a metric.")
    with atomic_write(path) as file:
        file.write(curve_svg(found.proposal).encode())


def curve_svg(proposal: Proposal) -> str:
    """The curve: layers kept to the right, the score upwards, the target as a line."""
    points = [(point.kept, point.score) for point in proposal.curve if math.isfinite(point.score)]
    scores = [score for _, score in points] + [proposal.target]
    low, high = min(scores), max(scores)
    low, high = low - 0.05 * (high - low or 1), high + 0.05 * (high - low or 1)
    most = max(len(proposal.order), 1)

    def x(kept: float) -> float:
        return LEFT + (WIDTH - LEFT - 20) * kept / most

    def y(score: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * (high - score) / (high - low)

    line = " ".join(f"{x(kept):.1f},{y(score):.1f}" for kept, score in points)
    unit = proposal.unit or "metric"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<path d="M{LEFT},{TOP} V{HEIGHT - BOTTOM} H{WIDTH - 20}" fill="none" stroke="black"/>',
        f'<text x="{LEFT}" y="{TOP - 8}">{unit}</text>',
        f'<text x="{WIDTH - 20}" y="{HEIGHT - 8}" text-anchor="end">layers kept</text>',
        f'<line x1="{LEFT}" x2="{WIDTH - 20}" y1="{y(proposal.target):.1f}" y2="{y(proposal.target):.1f}" '
        'stroke="green" stroke-dasharray="4"/>',
        f'<text x="{WIDTH - 24}" y="{y(proposal.target) - 4:.1f}" text-anchor="end" fill="green">'
        f"target {proposal.target:g} {unit}</text>",
        f'<polyline points="{line}" fill="none" stroke="#2060c0" stroke-width="2"/>',
    ]
    for kept, score in points:
        parts.append(
            f'<circle cx="{x(kept):.1f}" cy="{y(score):.1f}" r="3.5" fill="#2060c0">'
            f"<title>{kept} kept: {score:.4g} {unit}</title></circle>"
        )
    for value in (low, (low + high) / 2, high):
        parts.append(f'<text x="{LEFT - 6}" y="{y(value) + 4:.1f}" text-anchor="end">{value:.4g}</text>')
    for kept in (0, most // 2, most):
        parts.append(f'<text x="{x(kept):.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{kept}</text>')
    return "\n".join([*parts, "</svg>"])


def _table(title: str, heads: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    def row(cells: tuple[str, ...], tag: str) -> str:
        return "<tr>" + "".join(f'<{tag} style="{CELL}">{html.escape(cell)}</{tag}>' for cell in cells) + "</tr>"

    return f"<h2>{html.escape(title)}</h2><table>{row(heads, 'th')}{''.join(row(each, 'td') for each in rows)}</table>"
