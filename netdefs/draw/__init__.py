"""Networks and PyTorch modules, drawn: blocks, layers with their parameters, and lines with their dimensions."""

from netdefs.draw.data import script_json
from netdefs.draw.drawing import draw, drawing
from netdefs.draw.html import Assets, assets

__all__ = ["Assets", "assets", "draw", "drawing", "script_json"]
