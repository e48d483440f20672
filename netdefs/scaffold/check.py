"""The check of a draft: it is imported as it was written, defined, exported, compared with PyTorch, and compiled."""

import copy
import importlib.util
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from netdefs.core.errors import NetdefsError, NetworkError
from netdefs.core.network import Dimension, Network
from netdefs.core.optional import require
from netdefs.core.torch_module import evaluating
from netdefs.debug import Report, compare
from netdefs.engine import build
from netdefs.export import to_onnx
from netdefs.scaffold.choices import LARGER
from netdefs.scaffold.inputs import Input, arrays
from netdefs.scaffold.library import package
from netdefs.scaffold.units import Gap
from netdefs.scaffold.verdict import Checked, Verdict

TOLERANCE = 1e-4  # relative, of outputs; and of every layer that is fed PyTorch's values
FACTOR = 8  # times PyTorch's own rounding: another order of the same sums rounds as much
BATCHES = (1, 2, 4)  # a dynamic batch as it is defined
ANOTHER = 3  # and as it is run
GPU = "8.6"  # the compute capability to compile for
SEED = 1  # of the inputs to compare on; weights were measured on others
Say = Callable[[str], None]


def check(
    path: Path,
    modules: Mapping[str, Any],
    inputs: Mapping[str, Input],
    *,
    layers: int,
    dynamic: Sequence[int] = (),
    gaps: Sequence[Gap] = (),
    compiles: bool = True,
    say: Say = lambda text: None,
) -> Verdict:
    """Checks a draft that was written.

    Args:
        path: the file.
        modules: variant -> PyTorch's module. It is only run.
        inputs: what they take, by name.
        layers: how many layers' statements the draft stands for.
        dynamic: the axes of the inputs that may have other sizes: 0 the batch, 2 and 3 height and width.
        gaps: what it lacks.
        compiles: compile it ahead of time, where TensorRT-RTX is installed.
        say: told what is done next.
    """
    found = []
    for variant, module in modules.items():
        checked = Checked(variant)
        found.append(checked)
        try:
            _check(checked, load(path), module, inputs, dynamic, compiles, say)
        except NetdefsError as error:
            checked.problems.append(f"{type(error).__name__}: {error}")
        except Exception as error:  # code that was written just now may raise anything
            checked.problems.append(f"{_place(error, path)}{type(error).__name__}: {error}")
    return Verdict(path, len(path.read_text(encoding="utf-8").splitlines()), layers, found, list(gaps))


def load(path: Path) -> ModuleType:
    """A module from its file, anew."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None  # a .py file has a loader
    module = importlib.util.module_from_spec(spec)
    # Not through its cache: a file that is written twice within a second would be read as it was before.
    exec(compile(path.read_text(encoding="utf-8"), str(path), "exec"), vars(module))
    return module


def _check(
    checked: Checked,
    draft: ModuleType,
    module: Any,
    inputs: Mapping[str, Input],
    dynamic: Sequence[int],
    compiles: bool,
    say: Say,
) -> None:
    say(f"Defining {checked.variant}")
    weights = module.state_dict()
    network = _define(draft, weights, checked.variant, inputs)
    checked.layers = network.definition.num_layers
    to_onnx(network)
    say(f"Comparing every layer of {checked.variant} with PyTorch's")
    given = tuple(arrays(inputs, None, seed=SEED).values())
    checked.report = report = compare(network, module, given, tolerance=TOLERANCE)
    outputs = _outputs(network)
    checked.error = max((row.chained.relative for row in report.rows if row.name in outputs and row.chained), default=0)
    if wrong := _wrong(checked, report, outputs, module, given):
        checked.problems.append(wrong)
        return
    if compiles:
        say(f"Compiling {checked.variant}")
        _compile(checked, network)
    if 0 in dynamic:
        other, size = _another(draft, weights, checked, inputs, _other_sizes(module, inputs) if 2 in dynamic else ())
        text = f"batch {ANOTHER}{f' of {size[0]}x{size[1]}' if size else ''}"
        say(f"Comparing {checked.variant} on {text}")
        given = tuple(arrays(inputs, ANOTHER, size, SEED).values())
        report = compare(other, module, given, tolerance=TOLERANCE, mode="chained")
        if wrong := _wrong(checked, report, _outputs(other), module, given):
            checked.problems.append(f"With {text}: {wrong}")
        else:
            checked.also.append(text)
    if compiles and not checked.compiled and not checked.problems:
        checked.notes.append("Not compiled: TensorRT-RTX is not installed (pip install 'netdefs[rtx]').")


def _define(
    draft: ModuleType,
    weights: Mapping[str, Any],
    variant: str,
    inputs: Mapping[str, Input],
    batch: Dimension | None = None,
    size: Sequence[int] = (),
) -> Network:
    """The network that the file defines.

    Args:
        draft: the file.
        weights: PyTorch's.
        variant: which.
        inputs: what it takes.
        batch: in place of the inputs' own.
        size: in place of the height and width of pictures.
    """
    first = next(iter(inputs.values())).shape  # further ones follow from it
    rest = (first[1], *size) if size and len(first) == 4 else first[1:]
    shape = (first[0] if batch is None else batch, *rest)
    network: Network = draft.define_network(weights, variant, input_shape=shape, package=package())
    return network


def _outputs(network: Network) -> list[str]:
    definition = network.definition
    return [definition.get_output(i).name for i in range(definition.num_outputs)]


def _wrong(checked: Checked, report: Report, outputs: Sequence[str], module: Any, given: Sequence[Any]) -> str:
    """What a comparison says is wrong; empty if nothing is.

    Outputs must agree, and every layer that is fed PyTorch's values: what rounding adds up to on the way to layers
    inside is no mistake of theirs. Nor is it one of outputs, where PyTorch's own are as far from those in float64.
    """
    compared = [row for row in report.rows if row.name in outputs]
    returned = [item.name for item in report.unmatched if item.name.startswith("()") and "returned" in item.reason]
    if returned or not compared:
        return f"no output is PyTorch's {', '.join(f'module(x){name[2:]}' for name in returned)}."
    own = [row for row in report.rows if row.verdict == "own error" or row.chained_shape is not None]
    if own or any(row.void or row.chained is None for row in compared):
        return report.verdict
    if not all(row.ok for row in compared):
        worst = max(row.chained.relative for row in compared if row.chained is not None)
        rounding = _rounding(module, given)
        if not worst <= FACTOR * rounding:
            return report.verdict
        checked.rounding = max(checked.rounding, rounding)
    return ""


def _rounding(module: Any, given: Sequence[Any]) -> float:
    """How far PyTorch's own outputs are from those in float64, relative to them; 0 if that can't be run."""
    torch = require("torch", "torch")
    tree = require("torch.utils._pytree", "torch")
    inputs = [torch.as_tensor(each) for each in given]
    try:
        with evaluating(module), torch.no_grad():
            single = tree.tree_leaves(module(*inputs))
            wide = [each.double() if each.is_floating_point() else each for each in inputs]
            double = tree.tree_leaves(copy.deepcopy(module).double()(*wide))
    except (RuntimeError, TypeError, ValueError):
        return 0.0
    pairs = [(a.double(), b.double()) for a, b in zip(single, double, strict=True) if hasattr(a, "is_floating_point")]
    return max((float((a - b).norm() / b.norm().clamp(min=1e-30)) for a, b in pairs), default=0.0)


def _compile(checked: Checked, network: Network) -> None:
    if network.trt.__name__ != "tensorrt_rtx":
        return
    with build(network, target="tensorrt_rtx", compute_capabilities=(GPU,), progress=False):
        checked.compiled = f"TensorRT-RTX {network.trt.__version__} for compute capability {GPU}"


def _another(
    draft: ModuleType,
    weights: Mapping[str, Any],
    checked: Checked,
    inputs: Mapping[str, Input],
    sizes: Iterable[tuple[int, int]],
) -> tuple[Network, tuple[int, ...]]:
    """The draft for any batch, at the first other size that it takes; and that size, () if there is none."""
    refused = ""
    for size in sizes:
        try:
            return _define(draft, weights, checked.variant, inputs, BATCHES, size), size
        except NetworkError:  # as it should be where PyTorch goes another way, which a trace does not show
            refused = f"{size[0]}x{size[1]}"
    if refused:
        checked.notes.append(f"It is for this size only: {refused} is refused.")
    return _define(draft, weights, checked.variant, inputs, BATCHES), ()


def _other_sizes(module: Any, inputs: Mapping[str, Input]) -> Iterator[tuple[int, int]]:
    """Larger heights and widths, of those that are likely, that PyTorch's module takes."""
    torch = require("torch", "torch")
    pictures = [each.shape for each in inputs.values() if len(each.shape) == 4]
    for more in LARGER if pictures else ():
        size = (pictures[0][2] + more[0], pictures[0][3] + more[1])
        try:
            with torch.no_grad():
                module(*(torch.from_numpy(array) for array in arrays(inputs, 1, size).values()))
        except Exception:  # the module's own checks of sizes
            continue
        yield size


def _place(error: Exception, path: Path) -> str:
    """Where in the file an error was raised: "line 12: "; empty if it was elsewhere."""
    found, trace = "", error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == str(path):
            found = f"line {trace.tb_lineno}: "
        trace = trace.tb_next
    return found
