"""A drawing as plain data: what the page's script and the static formats draw from."""

import functools
import json
from collections import Counter
from collections.abc import Iterable
from importlib import resources
from typing import Any

from netdefs.draw.ranks import Layout, Spot, layout
from netdefs.draw.tree import Block, Layer, Value

MOST_SHOWN = 70  # boxes that are open at once by default
CHARACTER = 7.0  # pixels, of a label
FAMILIES = (
    ("conv", ("convolution", "deconvolution", "matrix multiply", "conv", "linear", "einsum")),
    ("norm", ("batch norm", "scale", "normalization", "batchnorm", "layernorm", "groupnorm", "instancenorm", "lrn")),
    ("pool", ("max pooling", "average pooling", "blended pooling", "mean", "maxpool", "avgpool", "adaptive", "reduce")),
    ("join", ("add", "multiply", "concat", "subtract", "divide", "maximum", "minimum", "cat")),
    ("shape", ("reshape", "permute", "slice", "resize", "gather", "cast", "identity", "padding", "squeeze", "unsqueeze",
               "split", "chunk", "flatten", "view", "transpose", "upsample", "interpolate", "dropout",
               "shape", "quantize", "dequantize", "dynamic quantize", "pixelshuffle", "contiguous")),
    ("act", ("relu", "leaky", "sigmoid", "tanh", "gelu", "elu", "selu", "softmax", "clip", "softplus", "hard", "silu",
             "mish", "prelu", "thresholded", "swish", "celu", "parametric", "exp", "log")),
)  # fmt: skip
SHORT = {"float32": "fp32", "float16": "fp16", "bfloat16": "bf16"}


def describe(root: Block, name: str) -> dict[str, Any]:
    """A tree as data for JSON.

    Args:
        root: as `grow` made it.
        name: the network's.
    """
    layers = root.layers
    title = f"{counted(len(layers), 'layer')}, {amount(root.parameters)} parameters"
    return {"name": name, "title": title, "depth": pleasant_depth(root), "root": _block(root)}


def pleasant_depth(root: Block) -> int:
    """The depth down to which blocks can be open without there being too much to see."""
    depth, level = 0, [root]
    shown = len(root.children)
    while True:
        level = [child for block in level for child in block.blocks]
        shown += sum(len(block.children) - 1 for block in level)
        if not level or shown > MOST_SHOWN:
            return depth
        depth += 1


def _block(block: Block) -> dict[str, Any]:
    plan = layout(block)
    slots = Slots(plan)
    return {
        "id": block.id,
        "path": block.path,
        "label": block.label,
        "kind": "block",
        "family": "module",
        "type": block.type,
        "layers": len(block.layers),
        "parameters": block.parameters,
        "summary": block.summary,
        "size": f"{counted(len(block.layers), 'layer')}, {amount(block.parameters)} parameters",
        "flow": flow(block.inputs.values(), block.outputs.values()),
        "alone": alone(block),
        "slots": slots.widths(block),
        "in": [_value(value) for value in block.inputs.values()],
        "out": [_value(value) for value in block.outputs.values()],
        "partner": block.partner,
        "rows": plan.rows,
        "columns": plan.columns,
        "gaps": plan.gaps,
        "entering": [spot.column for spot in plan.entering.values()],
        "leaving": [spot.column for spot in plan.leaving.values()],
        "lanes": [[lane.tensor, lane.first, lane.last, lane.column] for lane in plan.lanes],
        "wires": [
            {
                "tensor": wire.tensor,
                "gap": wire.gap,
                "track": wire.track,
                "back": wire.back,
                "top": slots.end(wire.top, wire.tensor, wire.back, top=True),
                "bottom": [slots.end(end, wire.tensor, wire.back, top=False) for end in wire.bottom],
            }
            for wire in plan.wires
        ],
        "dims": {name: dims(net.value) for name, net in block.nets.items()},
        "children": [
            {**(_block(child) if isinstance(child, Block) else _layer(child)), "at": [spot.row, spot.column]}
            for child, spot in zip(block.children, plan.spots, strict=True)
        ],
    }


def _layer(layer: Layer) -> dict[str, Any]:
    return {
        "id": layer.id,
        "path": layer.path,
        "label": layer.label,
        "kind": layer.kind,
        "family": family(layer),
        "type": layer.type,
        "params": layer.params,
        "dtype": dtypes(layer),
        "tensors": [value.name for value in layer.outputs],
        "in": [_value(value) for value in layer.inputs],
        "out": [_value(value) for value in layer.outputs],
        "weights": [{"key": key, "shape": list(shape)} for key, shape in layer.weights],
        "parameters": layer.parameters,
        "source": layer.source,
        "flow": flow(layer.inputs, layer.outputs),
        "alone": "no partner" if layer.partner == "" and not layer.minor else "",
        "minor": layer.minor,
        "partner": layer.partner,
    }


def _value(value: Value) -> dict[str, Any]:
    return {"name": value.name, "shape": list(value.shape), "dtype": value.dtype}


class Slots:
    """Where wires meet the edges of children: next to each other, in the order of where they come from or go to."""

    def __init__(self, plan: Layout) -> None:
        self.above: dict[int, dict[tuple[str, bool], float]] = {}
        self.below: dict[int, dict[tuple[str, bool], float]] = {}
        for wire in plan.wires:
            key = (wire.tensor, wire.back)
            if wire.top.kind == "child":
                middle = sum(end.column for end in wire.bottom) / len(wire.bottom)
                self.below.setdefault(wire.top.index, {})[key] = middle
            for end in wire.bottom:
                if end.kind == "child":
                    self.above.setdefault(end.index, {})[key] = wire.top.column

    def end(self, spot: Spot, tensor: str, back: bool, top: bool) -> list[Any]:
        """A wire's end: [kind, index], and of a child its slot and how many slots there are on that side."""
        if spot.kind != "child":
            return [spot.kind, spot.index]
        slots = (self.below if top else self.above)[spot.index]
        order = sorted(slots, key=slots.__getitem__)
        return [spot.kind, spot.index, order.index((tensor, back)), len(order)]

    def widths(self, block: Block) -> list[int]:
        """How wide each child must be for the labels below it, 0 where there is one at most."""
        found = []
        for i in range(len(block.children)):
            labels = [len(dims(block.nets[tensor].value)) for tensor, _ in self.below.get(i, {})]
            found.append(round((len(labels) + 1) * (max(labels) * CHARACTER + 14)) if len(labels) > 1 else 0)
        return found


def family(layer: Layer) -> str:
    """What kind of layer it is, for its color."""
    if layer.kind != "layer":
        return "io"
    first = layer.type.lower()
    return next((name for name, words in FAMILIES if first.startswith(words)), "other")


def flow(inputs: Iterable[Value], outputs: Iterable[Value]) -> str:
    """What goes in and what comes out, in short."""
    sides = [", ".join(_grouped([dims(value) for value in values])) for values in (inputs, outputs)]
    return " → ".join(side for side in sides if side)


def _grouped(texts: list[str]) -> list[str]:
    """Equal ones as one: 3 of 1×64×80×80."""
    counts = Counter(texts)
    found = [text if count == 1 else f"{count} of {text}" for text, count in counts.items()]
    return found if len(found) <= 4 else [*found[:3], "..."]


def alone(block: Block) -> str:
    """How many layers in a block have no partner in the drawing beside it; empty if none."""
    count = sum(layer.partner == "" and not layer.minor for layer in block.layers)
    return f"{count} without partner" if count else ""


def dims(value: Value) -> str:
    """A tensor's sizes, and its type where that is not float32: the label at its line."""
    text = "×".join(map(str, value.shape)) or "scalar"
    return text if value.dtype == "float32" else f"{text} {short(value.dtype)}"


def short(dtype: str) -> str:
    """A type as `precision` names it."""
    return SHORT.get(dtype, dtype)


def dtypes(layer: Layer) -> str:
    """The types that a layer takes and gives, in short: one if they are the same."""
    taken, given = ([short(value.dtype) for value in values] for values in (layer.inputs, layer.outputs))
    made = list(dict.fromkeys(given)) or list(dict.fromkeys(taken))
    if taken and given and taken[0] not in made:
        return f"{taken[0]} → {', '.join(made)}"
    return ", ".join(made)


def counted(number: int, noun: str) -> str:
    """1 layer, 2 layers."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def amount(number: int) -> str:
    """How many parameters, in thousands or millions."""
    for unit, name in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if number >= unit:
            return f"{number / unit:.3g} {name}"
    return str(number)


def script_json(value: Any) -> str:
    """JSON that can stand in a page's <script>: no text in it ends that, or begins a comment."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


@functools.cache
def asset(name: str) -> str:
    """The text of a file of this package."""
    return resources.files("netdefs.draw").joinpath(name).read_text(encoding="utf-8")
