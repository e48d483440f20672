"""`compare`: a network layer by layer against PyTorch."""

from collections import Counter
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

from netdefs.core.errors import CompareError
from netdefs.core.scope import near
from netdefs.debug.capture import Reference, Scan
from netdefs.debug.causes import Search
from netdefs.debug.inputs import examine, prepare
from netdefs.debug.loaded import check_weights
from netdefs.debug.match import Matching, Pair, match_layers, match_outputs
from netdefs.debug.measurement import Measurement
from netdefs.debug.metrics import tolerance_for
from netdefs.debug.report import Report, Row
from netdefs.debug.subject import Subject, subject_of

MODES = ("chained", "isolated", "both")
EXPLAINED = 3  # how many layers with errors of their own get a cause


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
        torch_module: a torch.nn.Module. It runs in eval mode without gradients, twice, and twice
            more if a layer is wrong; nothing of it is changed.
        inputs: an array or tensor, a dict of them by the network's input names, or a tuple in the order of its inputs.
        layers: names or globs of the layers to compare (`*` also matches dots). Outputs always are; `()` compares them
            alone.
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
    patterns = [layers] if isinstance(layers, str) else list(layers) if isinstance(layers, Sequence) else [layers]
    if not all(isinstance(pattern, str) for pattern in patterns):
        raise CompareError(f"layers={layers!r}: it is a name or a glob such as 'layer1.*', or a list of these.")
    feeds = prepare(inputs, subject.inputs, subject.profile)
    reference = Reference(torch_module, list(feeds.values()))
    scan = reference.scan()
    matching = match_layers(subject.tensors, subject.outputs, scan, subject.folded)
    match_outputs(subject.outputs, subject.passed_on, subject.tensors, scan, matching, subject.marked)
    pairs = choose(matching, patterns, subject, scan)
    if not any(pair.kind == "layer" for pair in matching.pairs):
        if subject.graph is not None and scan.modules and patterns:
            raise CompareError(f"{strangers(subject, scan)} To compare the outputs alone, pass layers=().")
        notes.append(strangers(subject, scan))
    measurement = Measurement(subject, feeds, matching, pairs, scan, limits, mode)
    digest = reference.stream(measurement.wanted, measurement.receive)
    if digest != scan.digest:
        notes.append("PyTorch's output is not the same twice on one input: something in it is random, and can't agree.")
    rows = measurement.rows()
    own = [row for row in rows if row.verdict == "own error"][:EXPLAINED]
    if own:
        explain(own[0], subject, reference, list(feeds))
        lacking = {item.name for item in matching.unmatched if item.reason == "has no layer"}
        search = Search(subject, reference, scan, feeds, limits.isolated, measurement.sources, lacking)
        causes = search.run([measurement.tasks[row.name] for row in own])
        for row in own:
            row.cause = causes.get(row.name)
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
        weights=check_weights(subject.weights, subject.fingerprint, reference.module.state_dict(), subject.kernels),
        inputs=examine(feeds),
        notes=[*notes, *matching.notes],
    )


def strangers(subject: Subject, scan: Scan) -> str:
    """Says why no layer can be compared, and which prefix would change that."""
    ours, theirs = list(subject.tensors), list(scan.modules)
    shared = [f"{name} {scan.modules[name].reason}" for name in ours if name in scan.modules]
    if shared:
        return f"No layer can be compared. Of the modules with a layer's name, {'; '.join(shared[:3])}."
    text = f"No layer has the name of a PyTorch module: the network's are {_some(ours)}, the modules {_some(theirs)}."
    prefix, count = _prefix(theirs, ours)
    if count:
        return (
            f"{text} {_matching(count)} once the modules lose the prefix '{prefix}.'. Compare with the inner module: "
            f"module.{prefix}."
        )
    prefix, count = _prefix(ours, theirs)
    if count:
        return (
            f"{text} {_matching(count)} once the network's lose the prefix '{prefix}.'. Compare with the module that "
            f"has this one as its .{prefix}."
        )
    return text


def _prefix(longer: Sequence[str], shorter: Sequence[str]) -> tuple[str, int]:
    """The prefix that most names of one side have before a name of the other, and how many do."""
    known, found = set(shorter), Counter[str]()
    for name in longer:
        parts = name.split(".")
        found.update(".".join(parts[:i]) for i in range(1, len(parts)) if ".".join(parts[i:]) in known)
    return found.most_common(1)[0] if found else ("", 0)


def _matching(count: int) -> str:
    return "1 name matches" if count == 1 else f"{count} names match"


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (" ..." if len(names) > 3 else "")


def explain(row: Row, subject: Subject, reference: Reference, inputs: Sequence[str]) -> None:
    """Finds out whether PyTorch feeds a wrong layer what the network fed it, and notes it in the row if not."""
    folded = [conv for conv, norm in subject.folded.items() if norm == row.name]
    inside = any(name.startswith(f"{row.name}.") for name in row.fed)
    if row.kind != "layer" or row.verdict != "own error" or row.via or inside:
        return
    given = reference.given(folded[0] if folded else row.name, row.fed, inputs)
    if not given.expected:
        row.given = given.source or "something else"


def choose(matching: Matching, patterns: Sequence[str], subject: Subject, scan: Scan) -> list[Pair]:
    """The pairs to compare: layers that match the globs, and outputs.

    Raises:
        CompareError: there are none, or a glob matches none.
    """
    found = [pair for pair in matching.pairs if pair.kind == "layer"]
    outputs = [pair for pair in matching.pairs if pair.kind == "output"]
    names = [pair.tensor for pair in found]
    if not matching.pairs:
        raise CompareError(f"No output can be matched. {strangers(subject, scan)}")
    for pattern in patterns:
        if pattern != "*" and not any(fnmatchcase(name, pattern) for name in names):
            raise CompareError(f"No comparable layer matches {pattern!r}.{near(pattern, names)}")
    chosen = [pair for pair in found if any(fnmatchcase(pair.tensor, pattern) for pattern in patterns)] + outputs
    if not chosen:
        raise CompareError("Nothing is left to compare: layers=() leaves the outputs, and none of them can be matched.")
    return chosen
