"""`compare`: a network layer by layer against PyTorch."""

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

from netdefs.core.errors import CompareError
from netdefs.core.scope import near
from netdefs.debug.capture import Reference, Scan
from netdefs.debug.inputs import examine, prepare
from netdefs.debug.loaded import check_weights
from netdefs.debug.match import Matching, Pair, match_layers, match_outputs
from netdefs.debug.measurement import Measurement
from netdefs.debug.metrics import tolerance_for
from netdefs.debug.report import Report
from netdefs.debug.subject import Subject, subject_of

MODES = ("chained", "isolated", "both")


def compare(
    network: Any,
    torch_module: Any,
    inputs: Any,
    *,
    layers: str | Sequence[str] = "*",
    mode: str = "both",
    tolerance: float | None = None,
) -> Report:
    """Compares every layer of a network with the PyTorch module of the same name.

    Args:
        network: a `Network`, a raw `INetworkDefinition` or an `Engine`. One on a GPU shows only its outputs, chained.
        torch_module: a torch.nn.Module. It runs in eval mode without gradients, twice; nothing of it is changed.
        inputs: an array or tensor, a dict of them by the network's input names, or a tuple in the order of its inputs.
        layers: names or globs of the layers to compare (`*` also matches dots). Outputs always are.
        mode: "chained": each layer fed by its own predecessors; "isolated": fed PyTorch's values, which shows its own
            error; or "both".
        tolerance: the largest relative error (L2 norm) that still agrees; by default that of the network's precision.

    Raises:
        CompareError: nothing can be compared, or an argument makes no sense.
        InputError: an input does not fit the network.
    """
    if mode not in MODES:
        raise CompareError(f"mode={mode!r}: it is one of {', '.join(MODES)}.")
    subject = subject_of(network)
    limits = tolerance_for(subject.precision, tolerance)
    notes = []
    if subject.graph is None and mode != "chained":
        if mode == "isolated":
            raise CompareError(
                "An engine on a GPU can't be fed in its middle. Compare the network it was built from, "
                "or use mode='chained'."
            )
        mode = "chained"
        notes.append("Only chained: an engine on a GPU can't be fed in its middle. The network it was built from can.")
    feeds = prepare(inputs, subject.inputs, subject.profile)
    reference = Reference(torch_module, list(feeds.values()))
    scan = reference.scan()
    matching = match_layers(subject.tensors, subject.outputs, scan, subject.folded)
    match_outputs(subject.outputs, subject.passed_on, subject.tensors, scan, matching)
    pairs = choose(matching, layers, subject, scan)
    measurement = Measurement(subject, feeds, matching, pairs, scan, limits, mode)
    digest = reference.stream(measurement.wanted, measurement.receive)
    if not any(pair.kind == "layer" for pair in matching.pairs):
        notes.append(strangers(subject, scan))
    if digest != scan.digest:
        notes.append("PyTorch's output is not the same twice on one input: something in it is random, and can't agree.")
    rows = measurement.rows()
    failed = [row for row in rows if row.isolated_error]
    if failed:
        notes.append(f"{len(failed)} rows can't be isolated. {failed[0].name}: {failed[0].isolated_error}")
    if reference.training:
        notes.append("The module was in training mode; it was compared in eval mode, as it would be deployed.")
    if reference.dtype != "float32":
        notes.append(f"The module computes in {reference.dtype}.")
    return Report(
        name=subject.name,
        precision=subject.precision,
        mode=mode,
        tolerance=limits,
        rows=rows,
        unmatched=matching.unmatched,
        aliases=matching.aliases,
        folded=subject.folded,
        weights=check_weights(subject.weights, subject.fingerprint, reference.module.state_dict()),
        inputs=examine(feeds),
        notes=[*notes, *matching.notes],
    )


def strangers(subject: Subject, scan: Scan) -> str:
    """Says that no layer has a module's name, and which prefix would change that."""
    ours, theirs = ", ".join(list(subject.tensors)[:3]), ", ".join(list(scan.modules)[:3])
    text = f"No layer has the name of a PyTorch module: the network's are {ours} ..., the modules {theirs} ...."
    inner = next((n.removesuffix(f".{t}") for n in scan.modules for t in subject.tensors if n.endswith(f".{t}")), "")
    return f"{text} Compare with the inner module: module.{inner}" if inner else text


def choose(matching: Matching, layers: str | Sequence[str], subject: Subject, scan: Scan) -> list[Pair]:
    """The pairs to compare: layers that match the globs, and outputs.

    Raises:
        CompareError: there are none, or a glob matches none.
    """
    found = [pair for pair in matching.pairs if pair.kind == "layer"]
    outputs = [pair for pair in matching.pairs if pair.kind == "output"]
    names = [pair.tensor for pair in found]
    if not matching.pairs:
        raise CompareError(f"No output can be matched. {strangers(subject, scan)}")
    patterns = [layers] if isinstance(layers, str) else list(layers)
    for pattern in patterns:
        if pattern != "*" and not any(fnmatchcase(name, pattern) for name in names):
            raise CompareError(f"No comparable layer matches {pattern!r}.{near(pattern, names)}")
    return [pair for pair in found if any(fnmatchcase(pair.tensor, pattern) for pattern in patterns)] + outputs
