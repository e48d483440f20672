"""The drawing for Graphviz: blocks as clusters."""

from collections.abc import Iterator, Sequence
from typing import Any

from netdefs.draw.svg import COLORS
from netdefs.draw.text import card_lines

HEAD = """digraph network {
  compound=true; rankdir=TB; fontname="Helvetica"; fontsize=12; nodesep=0.3; ranksep=0.35;
  node [shape=box, style="rounded", fontname="Helvetica", fontsize=11, margin="0.12,0.05"];
  edge [fontname="Helvetica", fontsize=10, color="#7d8896", arrowsize=0.7];
"""


def dot(drawings: Sequence[dict[str, Any]]) -> str:
    """Drawings as the clusters of one graph; blocks below their depth are nodes."""
    parts = [HEAD]
    for i, data in enumerate(drawings):
        root = {**data["root"], "label": data["name"]}
        prefix = f"{i}:" if len(drawings) > 1 else ""
        parts += _cluster(root, data["depth"], prefix, 1)
        parts += _edges(root, data["depth"], prefix)
    return "".join([*parts, "}\n"])


def _cluster(block: dict[str, Any], depth: int, prefix: str, level: int) -> Iterator[str]:
    space = "  " * level
    name = _quoted(f"cluster_{prefix}{block['id']}")
    yield f"{space}subgraph {name} {{\n"
    title = "  ".join(filter(None, (block["label"], block["type"])))
    style = ', style="rounded,dashed", color="#c26a00"' if block["partner"] == "" else ', style="rounded"'
    yield f"{space}  graph [label={_quoted(title)}, labeljust=l{style}];\n"
    for child in block["children"]:
        if _is_open(child, depth - 1):
            yield from _cluster(child, depth - 1, prefix, level + 1)
        else:
            lines = [f"{line.text}  {line.right}".rstrip() for line in card_lines(child)]
            alone = child["partner"] == "" and not child.get("minor")
            color = "#c26a00" if alone else COLORS[child["family"]]
            style = ', style="rounded,dashed"' if alone else ""
            peripheries = ", peripheries=2" if child["kind"] == "block" else ""
            label = "\\n".join(_escaped(line) for line in lines)
            yield f'{space}  {_quoted(prefix + child["id"])} [label="{label}", color="{color}"{style}{peripheries}];\n'
    yield f"{space}}}\n"


def _edges(root: dict[str, Any], depth: int, prefix: str) -> Iterator[str]:
    """Each tensor's edges between boxes that are shown."""
    shown: dict[str, str] = {}  # tensor -> the box that gives it
    taken: dict[tuple[str, str], str] = {}  # tensor and the box that takes it -> the label

    def walk(block: dict[str, Any], left: int) -> None:
        for child in block["children"]:
            if _is_open(child, left - 1):
                walk(child, left - 1)
                continue
            for value in child["out"]:
                shown[value["name"]] = child["id"]
            for value in child["in"]:
                taken[value["name"], child["id"]] = block["dims"].get(value["name"], "")

    walk(root, depth)
    for (tensor, taker), label in taken.items():
        if tensor in shown:
            yield f"  {_quoted(prefix + shown[tensor])} -> {_quoted(prefix + taker)} [label={_quoted(label)}];\n"


def _is_open(node: dict[str, Any], depth: int) -> bool:
    return node["kind"] == "block" and depth >= 0


def _quoted(text: str) -> str:
    return f'"{_escaped(text)}"'


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")
