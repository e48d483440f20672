"""`draw` and `drawing`: from a network or a module to a file, or to the data for a page."""

import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from netdefs.core.errors import InputError
from netdefs.core.files import atomic_write
from netdefs.draw.data import describe
from netdefs.draw.dot import dot
from netdefs.draw.graph import network_tree
from netdefs.draw.html import page
from netdefs.draw.module_graph import is_module, module_tree
from netdefs.draw.partners import pair
from netdefs.draw.svg import png, svg
from netdefs.draw.tree import Block

FORMATS: dict[str, Callable[[Sequence[dict[str, Any]]], bytes]] = {
    ".html": lambda drawings: page(drawings).encode(),
    ".svg": lambda drawings: svg(drawings).encode(),
    ".png": png,
    ".dot": lambda drawings: dot(drawings).encode(),
}


def drawing(shown: Any, inputs: Any = None, *, name: str | None = None) -> dict[str, Any]:
    """What is drawn of a network or module, as data for JSON and for the script of `assets`.

    Args:
        shown: a `Network`, an `INetworkDefinition`, an engine for the CPU, or a torch.nn.Module.
        inputs: for a module, what it is called with once: an array or tensor, or a tuple of them.
        name: the title; by default its own name.

    Raises:
        NetdefsError: it is none of these, or the module can't run on the inputs.
    """
    root, own = tree(shown, inputs)
    return describe(root, name or own)


def draw(
    shown: Any,
    path: str | os.PathLike[str],
    *,
    beside: Any = None,
    inputs: Any = None,
    depth: int | None = None,
) -> None:
    """Draws a network or module into a file, replacing what is there only when all is written.

    Args:
        shown: what `drawing` takes.
        path: .html (blocks open and close), .svg, .png or .dot (Graphviz).
        beside: a torch.nn.Module, or anything else that `shown` may be, to be drawn next to it. Layers and blocks of
            the same name are partners; those without one stand out.
        inputs: for modules, what they are called with.
        depth: blocks that lie deeper are closed: 0 shows only those right in the network. By default as much is open as
            can be seen at a glance.

    Raises:
        InputError: a name with another ending, a negative depth, or a module without inputs.
        FileError: the file can't be written.
    """
    target = Path(path)
    check_target(target, depth)
    found = [drawing(shown, inputs)] if beside is None else side_by_side(shown, beside, inputs)
    for data in found:
        data["depth"] = data["depth"] if depth is None else depth
    content = FORMATS[target.suffix.lower()](found)
    with atomic_write(target) as file:
        file.write(content)


def check_target(path: Path, depth: int | None) -> None:
    """Refuses a name with an unknown ending and a depth that is none, before anything is computed.

    Raises:
        InputError: one of these.
    """
    if path.suffix.lower() not in FORMATS:
        raise InputError(f"{path}: a drawing is {', '.join(FORMATS)}, by the ending of its name.")
    if depth is not None and (not isinstance(depth, int) or isinstance(depth, bool) or depth < 0):
        raise InputError(f"depth={depth!r}: it is the number of levels of blocks that are open, 0 or more.")


def side_by_side(shown: Any, module: Any, inputs: Any = None) -> list[dict[str, Any]]:
    """As `drawing`, of a network and of a module (or another network); each node has its partner of the other."""
    (left, name), (right, other) = tree(shown, inputs), tree(module, inputs)
    matched = pair(left, right)
    both = [describe(left, name), describe(right, other)]
    depth = min(data["depth"] for data in both)
    return [{**data, "depth": depth, "matched": matched} for data in both]


def tree(shown: Any, inputs: Any = None) -> tuple[Block, str]:
    """The blocks of what is to be drawn, and its name."""
    if is_module(shown):
        return module_tree(shown, inputs), type(shown).__name__
    target = getattr(shown, "target", "cpu")
    if target != "cpu":
        raise InputError(f"An engine for {target} holds no layers. Draw the network that it was built from.")
    if hasattr(shown, "model") and hasattr(shown, "target"):  # an engine for the CPU holds an ONNX model
        return _engine_tree(shown), str(shown.info.get("variant") or shown.info.get("name") or "engine")
    definition = getattr(shown, "definition", shown)
    return network_tree(shown), str(getattr(definition, "name", "") or "network")


def _engine_tree(engine: Any) -> Block:
    from netdefs.core.parse import from_onnx

    with tempfile.TemporaryDirectory(prefix="netdefs-") as folder:
        path = Path(folder) / "engine.onnx"
        engine.save(path)
        return network_tree(from_onnx(path))
