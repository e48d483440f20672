"""Which tensor of the network is compared with which value of PyTorch: by exact name, nothing guessed."""

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType

from netdefs.debug.scan import Scan, Seen


@dataclasses.dataclass(frozen=True)
class Pair:
    """A tensor of the network and PyTorch's value for it.

    Attributes:
        tensor: its name in the network.
        source: the module, or the label of a returned value.
        kind: "layer" or "output".
        module_type: the module's class; empty for an output.
        layer_type: the network's layer.
        shape: PyTorch's.
        nbytes: size of PyTorch's value.
        block: the module that it answers for, with all that is inside it; by default that of its name.
    """

    tensor: str
    source: str
    kind: str
    module_type: str
    layer_type: str
    shape: tuple[int, ...]
    nbytes: int
    block: str = ""

    @property
    def inner(self) -> str:
        """What the names of all that it answers for begin with."""
        return f"{self.block or self.tensor}."


@dataclasses.dataclass(frozen=True)
class Unmatched:
    """A module without a comparable layer, or a layer without a module; `side` says which: "module" or "layer"."""

    name: str
    side: str
    reason: str


@dataclasses.dataclass
class Matching:
    """The pairs in execution order, and all that has no partner."""

    pairs: list[Pair]
    unmatched: list[Unmatched]
    aliases: dict[str, str]  # module -> the compared module whose very tensor it returns
    notes: list[str] = dataclasses.field(default_factory=list)


def match_layers(
    tensors: Mapping[str, str],
    outputs: Collection[str],
    scan: Scan,
    folded: Mapping[str, str],
    marked: Collection[str] = (),
    shapes: Mapping[str, tuple[int, ...]] = MappingProxyType({}),
    strange: Mapping[str, str] = MappingProxyType({}),
) -> Matching:
    """Pairs tensors with modules of the same name, and else with operations.

    Args:
        tensors: the network's tensors and what made them, in execution order.
        outputs: the network's outputs, which `match_outputs` deals with.
        scan: what is known of the modules.
        folded: convolution -> the batch norm that it was folded into.
        marked: outputs that other layers read: layers that were marked to be seen.
        shapes: the tensors' shapes, -1 where a size is unknown, as far as they are known.
        strange: tensors that have an operation's name and are something else, with the reason.
    """
    comparable = {name: seen for name, seen in scan.modules.items() if name in tensors and not seen.reason}
    compared_as = {seen.same_as or name: name for name, seen in comparable.items()}
    result = Matching([], [], {})
    for name, kind in tensors.items():
        seen = comparable.get(name)
        reason = "" if seen else "has no module"
        if name not in scan.modules and name in scan.operations and (name not in outputs or name in marked):
            seen = scan.operations[name]
            reason = seen.reason or strange.get(name, "") or _another(shapes.get(name), seen.shape)
        if seen and not reason:
            result.pairs.append(Pair(name, name, "layer", seen.type, kind, seen.shape, seen.nbytes))
        elif name not in scan.modules and name not in outputs:
            result.unmatched.append(Unmatched(name, "layer", reason))
    for name, seen in scan.modules.items():
        if name in comparable:
            continue
        twin = compared_as.get(seen.same_as or name)
        if twin and not seen.reason:
            result.aliases[name] = twin
        else:
            result.unmatched.append(Unmatched(name, "module", _reason(name, seen, folded)))
    return result


def _another(ours: tuple[int, ...] | None, theirs: tuple[int, ...]) -> str:
    """Why a tensor is not the operation of its name, if it is the same but for axes of size 1; else empty."""
    if ours is None or ours == theirs or [n for n in ours if n != 1] != [n for n in theirs if n != 1]:
        return ""
    return f"has another shape than PyTorch's function of that name ({ours}, and there {theirs})"


def _reason(name: str, seen: Seen, folded: Mapping[str, str]) -> str:
    if name in folded:
        return f"is folded into its batch norm ({folded[name]})"
    if seen.reason:
        return seen.reason
    return "has no layer"


def match_outputs(
    outputs: Mapping[str, tuple[int, ...]],
    passed_on: Mapping[str, Sequence[str]],
    types: Mapping[str, str],
    scan: Scan,
    matching: Matching,
    marked: Collection[str] = (),
) -> None:
    """Pairs the network's outputs with what the module returned, and adds them to `matching` with a note on how.

    Names count first; then a value that is the very tensor of a compared module goes to the output that passes that
    layer on. What is left goes in order if there are as many on both sides (but not if the value is compared as a
    layer already, and the output's shape says that it is something else), else by shape to the first output that is
    left, unless its module is compared already.

    Args:
        outputs: the network's outputs with their shapes, -1 where a size is unknown. Those that are compared as layers
            get no second pair.
        passed_on: output -> the tensors whose values it hands on unchanged, nearest first.
        types: what made each output.
        scan: what the module returned.
        matching: gets the pairs.
        marked: outputs that other layers read: layers that were marked to be seen. No returned value is theirs, unless
            it has their name.
    """
    returned = {label: seen for label, seen in scan.returned.items() if not seen.reason}
    for label, seen in scan.returned.items():
        if seen.reason:
            matching.unmatched.append(Unmatched(label, "module", seen.reason))
    sources = {pair.tensor: pair.source for pair in matching.pairs}
    own = {name: shape for name, shape in outputs.items() if name not in sources}
    settled = {_identity(sources[name], scan) for name in outputs if name in sources}
    chosen, how = _choose(own, passed_on, returned, sources, scan, settled, marked)
    for name in own:
        if name in chosen:
            seen = returned[chosen[name]]
            matching.pairs.append(Pair(name, chosen[name], "output", "", types.get(name, ""), seen.shape, seen.nbytes))
            matching.notes.append(f"The output {name} is compared with module(x){chosen[name][2:]}: {how[name]}.")
        else:
            reason = "has no module" if name in marked else "is an output, and the module returns nothing that fits"
            matching.unmatched.append(Unmatched(name, "layer", reason))
    for label, seen in returned.items():
        if label not in chosen.values() and seen.same_as not in settled:
            matching.unmatched.append(Unmatched(label, "module", "is returned, and no output of the network fits"))


def _choose(
    outputs: Mapping[str, tuple[int, ...]],
    passed_on: Mapping[str, Sequence[str]],
    returned: Mapping[str, Seen],
    sources: Mapping[str, str],
    scan: Scan,
    settled: Collection[str],
    marked: Collection[str],
) -> tuple[dict[str, str], dict[str, str]]:
    """For each output the label of its partner, and in words why."""
    chosen: dict[str, str] = {}
    how: dict[str, str] = {}

    def take(name: str, label: str, why: str) -> None:
        chosen[name], how[name] = label, why

    def handed_on(name: str) -> str:
        """The module whose layer an output hands on; "" if there is none."""
        return next((sources[tensor] for tensor in passed_on.get(name, ()) if tensor in sources), "")

    def left() -> list[str]:
        return [name for name in outputs if name not in chosen and name not in marked]

    def free() -> list[str]:
        return [n for n, seen in returned.items() if n not in chosen.values() and seen.same_as not in settled]

    for name in outputs:
        label = next((label for label in (f"()[{name!r}]", f"().{name}") if label in returned), "")
        if label:
            take(name, label, "the same name")
    for label in free():
        for name in left():
            source = handed_on(name)
            if source and _identity(source, scan) == returned[label].same_as:
                take(name, label, f"both are the output of {source}")
                break
    compared = {_identity(source, scan) for source in sources.values()}
    if len(left()) == len(free()):
        for name, label in zip(left(), free(), strict=True):
            # What is compared as a layer already, and of another shape, is an output that the network works on further.
            if returned[label].same_as not in compared or _fits(outputs[name], returned[label].shape):
                take(name, label, "the only one" if len(outputs) == 1 else "in order")
        return chosen, how
    # An output that hands on a compared layer belongs to that module's value, so it comes last.
    for label in [label for label in free() if returned[label].same_as not in compared]:
        shape = returned[label].shape
        fitting = sorted(
            (name for name in left() if _fits(outputs[name], shape)), key=lambda name: bool(handed_on(name))
        )
        if fitting:
            which = "the only one" if len(fitting) == 1 else "the first"
            take(fitting[0], label, f"{which} left of its shape, {shape}")
    return chosen, how


def _identity(name: str, scan: Scan) -> str:
    """Under which name a module's output tensor was seen first."""
    return scan.seen(name).same_as or name


def _fits(known: Sequence[int], shape: Sequence[int]) -> bool:
    return len(known) == len(shape) and all(k in (n, -1) for k, n in zip(known, shape, strict=True))
