"""Which of what could be compared is compared; and what to say where nothing can be."""

import dataclasses
import difflib
from collections import Counter
from collections.abc import Sequence
from fnmatch import fnmatchcase

from netdefs.core.errors import CompareError
from netdefs.core.scope import near
from netdefs.debug.match import Matching, Pair
from netdefs.debug.scan import Scan
from netdefs.debug.subject import Subject

ALIKE = 50  # so many layers are looked at for a module of a similar name


def choose(matching: Matching, patterns: Sequence[str], subject: Subject, scan: Scan) -> list[Pair]:
    """The pairs to compare: layers that match the globs, and outputs.

    A block that matches and hands on the very tensor of a layer inside is compared as that, fed what feeds the block.

    Raises:
        CompareError: there are none, or a glob matches none.
    """
    found = [pair for pair in matching.pairs if pair.kind == "layer"]
    outputs = [pair for pair in matching.pairs if pair.kind == "output"]
    names = [pair.tensor for pair in found]
    blocks = {name: twin for name, twin in matching.aliases.items() if twin in names}
    if not matching.pairs:
        raise CompareError(f"No output can be matched. {strangers(subject, scan)}")
    for pattern in patterns:
        possible = [*names, *(blocks if set("*?[") & set(pattern) else ())]
        if pattern != "*" and not any(fnmatchcase(name, pattern) for name in possible):
            reason = _reason(pattern, matching) or near(pattern, names)
            raise CompareError(f"No comparable layer matches {pattern!r}.{reason}")
    chosen = [pair for pair in found if any(fnmatchcase(pair.tensor, pattern) for pattern in patterns)]
    for name, twin in blocks.items():  # the outermost comes first; such a block has no layer but its last one
        if twin not in [pair.tensor for pair in chosen] and any(fnmatchcase(name, pattern) for pattern in patterns):
            chosen.append(dataclasses.replace(found[names.index(twin)], block=name))
    chosen += outputs
    if not chosen:
        raise CompareError("Nothing is left to compare: layers=() leaves the outputs, and none of them can be matched.")
    return chosen


def _reason(name: str, matching: Matching) -> str:
    """Why something that has this name can't be compared."""
    if name in matching.aliases:
        return f" The module {name} returns the very tensor of {matching.aliases[name]}: name that."
    reasons = [f" The {item.side} {name} {item.reason}." for item in matching.unmatched if item.name == name]
    return reasons[0] if reasons else ""


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
    pairs = [(name, found[0]) for name in ours[:ALIKE] if (found := difflib.get_close_matches(name, theirs, 1, 0.75))]
    return f"{text} Alike are {', '.join(f'{a} and {b}' for a, b in pairs[:3])}." if pairs else text


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
