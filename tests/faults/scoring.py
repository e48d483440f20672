"""Planting faults by the hundred, and what `compare` makes of them."""

import dataclasses
import random
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

import netdefs
from netdefs.core.errors import NetdefsError
from netdefs.debug.lean import execute
from netdefs.engine import emulate
from tests.faults.catalogue import CATALOGUE, Fault
from tests.faults.networks import Subject, subject
from tests.faults.planting import Plant, planted

VISIBLE = 1e-4  # a fault that changes its tensor by less than this, relative, is none
ATTEMPTS = 25


@dataclasses.dataclass(frozen=True)
class Planted:
    """A network with a fault, and what is to be found out about it."""

    subject: Subject
    fault: Fault
    path: str
    first: str
    detail: str
    network: Any

    def __str__(self) -> str:
        return f"{self.fault.name} at {self.path} of {self.subject.name}"


@dataclasses.dataclass(frozen=True)
class Score:
    """What the report said: the first wrong layer, and the cause."""

    planted: str
    network: str
    fault: str
    wanted: str
    cause: str
    first: str
    first_right: bool
    cause_right: bool
    text: str


def plant(fault: Fault, where: Subject, rng: random.Random) -> Planted | None:
    """A network with the fault in a random one of its calls; None if it can't be planted there, or would not show."""
    calls = [call for call in where.calls if call.method in fault.methods and fault.fits(call)]
    for call in rng.sample(calls, min(len(calls), ATTEMPTS)):
        first = where.first_wrong(call.path, fault.behind)
        state = Plant(random.Random(rng.random()))
        if not first:
            continue
        try:
            network = planted(lambda: where.define(fault.precision), call.path, state, fault.plant)
        except NetdefsError:  # such as a stride that makes two branches differ in size: nobody can make that mistake
            continue
        if state.then is None and _shows(where, fault, network, first):
            return Planted(where, fault, call.path, first, state.detail, network)
    return None


def _shows(where: Subject, fault: Fault, network: Any, name: str) -> bool:
    """Whether the first wrong tensor differs from the right network's, which no report is asked for."""
    right, wrong = (_value(net, name, where.x) for net in (where.define(fault.precision), network))
    if right is None or wrong is None or right.shape != wrong.shape:
        return True
    with np.errstate(invalid="ignore", over="ignore"):
        error = np.linalg.norm((right - wrong).astype(np.float64)) / np.linalg.norm(right.astype(np.float64))
    return bool(not error <= (VISIBLE if fault.precision == "fp32" else 0.1))


def _value(network: Any, name: str, x: np.ndarray) -> np.ndarray | None:
    try:
        model = netdefs.to_onnx(network, outputs=[name])
    except NetdefsError:
        return None
    model = emulate.emulate(model) if emulate.needs_emulation(model) else model
    return np.asarray(execute(model, {"input": x})[name])


def plants(names: Sequence[str], count: int, seed: int) -> Iterator[Planted]:
    """`count` faults: each kind as often as the others, each in a random one of the networks that can have it."""
    rng = random.Random(seed)
    impossible: set[tuple[str, str]] = set()
    done = 0
    while done < count:
        before = done
        for fault in rng.sample(list(CATALOGUE.values()), len(CATALOGUE)):
            for name in rng.sample(list(names), len(names)):
                if (fault.name, name) in impossible:
                    continue
                found = plant(fault, subject(name), rng)
                if found is not None:
                    yield found
                    done += 1
                    break
                impossible.add((fault.name, name))
            if done == count:
                return
        if done == before:
            return


def score(found: Planted) -> Score:
    """Compares, and looks at what the report says."""
    report = netdefs.compare(found.network, found.subject.module, found.subject.x)
    first = report.first_bad.name if report.first_bad else ""
    cause = report.cause
    kind, text = (cause.kind, cause.text) if cause else ("none", "")
    right = kind == found.fault.cause and found.detail in text
    return Score(
        planted=str(found),
        network=found.subject.name,
        fault=found.fault.name,
        wanted=found.fault.cause,
        cause=kind,
        first=first,
        first_right=bool(report.first_bad and report.first_bad.verdict == "own error" and first == found.first),
        cause_right=right,
        text=text or report.verdict,
    )
