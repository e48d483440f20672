"""`compare`: a network layer by layer against PyTorch."""

import os
from collections.abc import Sequence
from typing import Any

from netdefs.core.errors import CompareError, InputError
from netdefs.debug.aggregate import Aggregate
from netdefs.debug.arguments import patterns_of
from netdefs.debug.deployed import FUSED, check_target, deployed
from netdefs.debug.gaps import gaps_in_words
from netdefs.debug.inputs import Feeds, InputFinding, merged
from netdefs.debug.loaded import check_weights
from netdefs.debug.match import Pair, Unmatched
from netdefs.debug.metrics import tolerance_for
from netdefs.debug.quantized import as_quantized
from netdefs.debug.recording import Recording
from netdefs.debug.report import Report
from netdefs.debug.row import Row
from netdefs.debug.session import Options, Session
from netdefs.debug.subject import Subject, subject_of
from netdefs.debug.yardstick import check_yardstick, in_words

MODES = ("chained", "isolated", "both")


def compare(
    network: Any,
    torch_module: Any,
    inputs: Any = None,
    *,
    layers: str | Sequence[str] = "*",
    mode: str = "both",
    tolerance: float | None = None,
    module_inputs: Any = None,
    start: str | None = None,
    end: str | None = None,
    details: bool = False,
    target: str | None = None,
    observe: str = "outputs",
    yardstick: bool = False,
) -> Report:
    """Compares every layer of a network with the PyTorch module of the same name.

    Args:
        network: a `Network`, a raw `INetworkDefinition` or an `Engine`. One on a GPU shows only its outputs, chained.
        torch_module: a torch.nn.Module. It runs in eval mode without gradients: once to look at it, once for each
            input, and twice more if a layer is wrong; nothing of it is changed. Or the path of what `netdefs.capture`
            wrote where there is one: then no torch is needed.
        inputs: an array or tensor, a dict of them by the network's input names, or a tuple in the order of its inputs.
            A list of these is several inputs: each row then has the worst of them and their mean. A capture has its
            inputs in it: with one, none are given.
        layers: names or globs of the layers to compare (`*` also matches dots). Outputs always are; `()` compares them
            alone.
        mode: "chained": each layer fed by its own predecessors; "isolated": fed PyTorch's values, which shows its own
            error; or "both".
        tolerance: the largest relative error (L2 norm) that still agrees; by default that of the network's precision.
        module_inputs: what the module is given, where that is prepared in its own way: as `inputs`. The report says how
            the two differ, and the layers are then compared on the module's, if the network takes that.
        start: the first layer or block of a stretch: only what depends on it is compared, fed PyTorch's values.
        end: the last one: only what it depends on is compared, itself included.
        details: also gather heat maps and histograms of every layer, for `Report.to_html`: about 5 kB and 1 ms each.
        target: compile the network for this target, as `netdefs.build` does, and compare what the engine computes,
            chained; by default the network's own layers are run by ONNX Runtime.
        observe: how the layers of that engine are seen. "outputs": they are marked as outputs, in as many engines as
            it takes for these to fit into memory; "debug": as debug tensors, in one engine; "unfused": only those that
            TensorRT does not fuse, which changes nothing. The report says what looking changed.
        yardstick: also run PyTorch in the network's precision (fp16, bf16, tf32), to tell how exact that is.

    Raises:
        CompareError: nothing can be compared, or an argument makes no sense.
        InputError: an input does not fit the network.
        EngineError: the network can't be compiled for the target, or can't run on it.
    """
    if mode not in MODES:
        raise CompareError(f"mode={mode!r}: it is one of {', '.join(MODES)}.")
    for name, value in (("start", start), ("end", end)):
        if value is not None and not isinstance(value, str):
            raise CompareError(f"{name}={value!r}: it is the name of a layer or block, such as 'layer3.2', or None.")
    check_target(network, target, observe, mode, "start" if start is not None else "end" if end is not None else None)
    subject = subject_of(network, strict=target is None)
    mode, notes = _possible(mode, subject, target)
    if isinstance(torch_module, str | os.PathLike):
        torch_module, inputs = _open(torch_module, inputs, module_inputs, subject)
        mode = _sampled(torch_module, mode, start or end)
        notes += torch_module.notes()
    elif inputs is None:
        raise InputError("There are no inputs to compare on: give an array, or a capture that has them in it.")
    if yardstick:
        check_yardstick(subject.precision, torch_module)
    described = getattr(network, "info", {})
    if described.get("quantized") and hasattr(torch_module, "register_forward_pre_hook"):
        quantized = as_quantized(torch_module, described)
        torch_module = quantized.module
        notes.append(quantized.note)
    elif described.get("quantized"):
        notes.append(
            f"What is recorded was computed in float32, so rounding to {subject.precision} counts as an error here: "
            "compare with the module, or give a tolerance."
        )
    limits = tolerance_for(subject.precision, tolerance)
    options = Options(tuple(patterns_of(layers)), mode, limits, start, end, details, yardstick)
    feeds = Feeds(inputs, module_inputs, subject.given, subject.profile, torch_module)
    session = Session(subject, torch_module, options, feeds)
    with deployed(subject, target, observe, limits.chained, len(feeds) > 1):
        rows, findings = _measure(session)
        if session.drop_namesakes(rows):
            rows, findings = _measure(session)
    session.explain(rows)
    unseen = subject.deployment.unseen if subject.deployment is not None else ()
    observer = subject.deployment.observer() if subject.deployment is not None else None
    said = [observer.text] if observer is not None else []
    for text in (*said, in_words(rows, subject.precision), gaps_in_words(subject.gaps)):
        if text:
            session.note(text)
    failed = [row for row in rows if row.isolated_error]
    if failed:
        session.note(f"{len(failed)} rows can't be isolated. {failed[0].name}: {failed[0].isolated_error}")
    plan, reference = session.plan(feeds[0]), session.reference(feeds[0])
    return Report(
        name=subject.name,
        precision=subject.precision,
        mode=mode,
        tolerance=limits,
        rows=rows,
        unmatched=[*plan.matching.unmatched, *(Unmatched(name, "layer", FUSED) for name in unseen)],
        observer=observer,
        aliases=plan.matching.aliases,
        folded=subject.folded,
        weights=check_weights(subject.weights, subject.fingerprint, reference.state_dict(), subject.kernels),
        inputs=findings,
        notes=[*notes, *session.notes, *(plan.matching.notes if any(row.kind == "output" for row in rows) else ())],
        labels=[label for label in feeds.labels if label],
        samples=torch_module.samples if isinstance(torch_module, Recording) else None,
        modules={name: seen.type for name, seen in plan.scan.modules.items()},
        left_out=_layer_count(plan.matching.pairs) - _layer_count(rows),
        session=session,
    )


def _layer_count(found: Sequence[Pair | Row]) -> int:
    return sum(each.kind == "layer" for each in found)


def _measure(session: Session) -> tuple[list[Row], list[InputFinding]]:
    """The rows, with the worst of all inputs, and what there is to say about these."""
    every = Aggregate()
    findings: list[InputFinding] = []
    for feed, label in zip(session.feeds, session.feeds.labels, strict=True):
        every.add(session.measure(feed))
        findings = merged(findings, feed.findings, label)
    return every.rows(list(session.subject.tensors)), findings


def _open(path: str | os.PathLike[str], inputs: Any, module_inputs: Any, subject: Subject) -> tuple[Recording, Any]:
    """A capture and the inputs that are in it."""
    recording = Recording(path)
    if inputs is not None or module_inputs is not None:
        which = "inputs" if inputs is not None else "module_inputs"
        raise InputError(
            f"{which} was given, and {path} has the inputs that PyTorch's values were computed from: of others they "
            f"tell nothing. Leave {which} out, or capture on these."
        )
    found = recording.inputs(list(subject.given))
    try:
        _ = Feeds(found, None, subject.given, subject.profile, path)[0]
    except InputError as error:
        raise InputError(f"The input in {path} does not fit this network. {error}") from error
    return recording, found


def _sampled(recording: Recording, mode: str, stretch: str | None) -> str:
    """The mode that a capture allows."""
    if recording.samples is not None and (mode == "isolated" or stretch):
        what = "start= and end=" if stretch else "mode='isolated'"
        raise CompareError(
            f"{what}: no layer can be fed PyTorch's values, since the capture has {recording.samples} of each tensor "
            "only. Capture without samples=, or use mode='chained'."
        )
    return mode if recording.samples is None else "chained"


def _possible(mode: str, subject: Subject, target: str | None) -> tuple[str, list[str]]:
    """The mode that the network allows, and a note if that is not the one that was asked for."""
    if target is not None and mode == "both":
        note = "Only chained: an engine can't be fed in its middle. The network's own layers can: leave target out."
        return "chained", [note]
    if subject.graph is not None or mode == "chained":
        return mode, []
    if mode == "isolated":
        raise CompareError(
            "An engine on a GPU can't be fed in its middle. Compare the network it was built from, or use "
            "mode='chained'."
        )
    return "chained", [
        "Only chained: an engine on a GPU can't be fed in its middle. The network it was built from can."
    ]
