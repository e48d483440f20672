"""`Recording`: what `netdefs.capture` wrote, in place of PyTorch's module. It needs no torch."""

import json
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from netdefs.core.errors import CompareError, FileError, InputError
from netdefs.core.optional import require
from netdefs.debug.inputs import Several
from netdefs.debug.samples import FACTS, Sampled
from netdefs.debug.scan import Given, Scan, Sink
from netdefs.debug.stored import Fingerprint, StoredState, stand_ins
from netdefs.debug.writer import FORMAT, METADATA

WRITES = "netdefs.capture(module, inputs, path) writes one, on the machine that has the module."


class Recording:
    """A capture, opened.

    Args:
        path: the file.

    Attributes:
        samples: how many values of each tensor there are, if not all.

    Raises:
        CompareError: it is no capture, or one that this version can't read.
        FileError: there is no such file, or it is cut off.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)
        if not self._path.exists():
            raise FileError(f"There is no file {self._path}: a capture to compare with. {WRITES}")
        if self._path.is_dir():
            raise FileError(f"{self._path} is a folder, not a capture.")
        _check_whole(self._path)
        safetensors = require("safetensors", "cpu")
        try:
            self._file = safetensors.safe_open(os.fspath(self._path), framework="numpy")
            text = (self._file.metadata() or {}).get(METADATA)
        except Exception as error:  # the library's own class says only that it is one
            raise CompareError(
                f"{self._path} is no capture and no other .safetensors, or it is cut off ({error}). {WRITES}"
            ) from error
        if text is None:
            raise CompareError(f"{self._path} is a .safetensors, but not a capture: it may hold weights. {WRITES}")
        self._content = json.loads(text)
        found = self._content.get("format")
        if found != FORMAT:
            raise CompareError(
                f"{self._path} was written by netdefs {self._content.get('netdefs', '?')} in the format {found}; this "
                f"version reads the format {FORMAT}. Capture again, or use that version."
            )
        self.samples: int | None = self._content["samples"]
        self._state: StoredState | None = None

    def __len__(self) -> int:
        return len(self._content["runs"])

    def inputs(self, names: Sequence[str]) -> Any:
        """The inputs as `compare` takes them.

        Args:
            names: of the network's inputs.

        Raises:
            InputError: the network has other inputs.
        """
        if not self._content["several"]:
            return self._input(0, names)
        labels = [run["label"] for run in self._content["runs"]]
        return Several(labels, lambda i: self._input(i, names))

    def run(self, at: int) -> "RecordedRun":
        """What stands in for the module, on one of the inputs."""
        return RecordedRun(self, self._content, self._content["runs"][at])

    def state_dict(self) -> StoredState:
        """The module's weights, or what is known of them."""
        if self._state is None:
            about = self._content["weights"]
            found = StoredState()
            for key, entry in about["keys"].items():
                there = entry.get("values")
                found[key] = self.read(there) if there else Fingerprint(entry["shape"], entry["hashes"])
            found.sha256, found.whole = about["sha256"], bool(self._content["modules"])
            self._state = found
        return self._state

    def read(self, place: Sequence[Any]) -> np.ndarray:
        """A tensor of the file."""
        name, shape = place
        return np.asarray(self._file.get_tensor(name)).reshape(shape)

    def notes(self) -> list[str]:
        """For the report: where PyTorch's values come from, and what can't be told without the module."""
        made = f"torch {self._content['torch']}, netdefs {self._content['netdefs']}"
        found = [f"PyTorch's values are those of {self._content['module']} in {self._path.name} ({made})."]
        if self.samples is not None:
            found.append(f"Errors are of {self.samples} values of each tensor, its extremes, mean and size.")
            found.append("Own errors and causes can't be told from samples: no layer can be fed them.")
        elif not self._content["modules"]:
            found.append("Causes in a layer's weights or settings can't be told: the capture holds no weights.")
        elif not _has_torch():
            found.append(
                "Causes in activations, pools, resizes and pixel orders can't be told: there is no torch here."
            )
        return found

    def _input(self, at: int, names: Sequence[str]) -> Any:
        run = self._content["runs"][at]
        arrays = {name: self.read(place) for name, place in run["inputs"].items()}
        if run["named"] and set(arrays) == set(names):
            return arrays
        if len(arrays) != len(names) or (run["named"] and len(names) > 1):
            raise InputError(
                f"The inputs in {self._path.name} are {_listed(arrays)}; the network's are {_listed(names)}. They go "
                "by name if the capture was given a dict, and by order otherwise. Is it a capture of another network?"
            )
        return tuple(arrays.values())


class RecordedRun:
    """As `netdefs.debug.reference.Reference`, with values out of a file."""

    replayed = False  # nothing is run, so nothing can be random

    def __init__(self, recording: Recording, content: Mapping[str, Any], run: Mapping[str, Any]) -> None:
        self._recording, self._content, self._run = recording, content, run
        self.training = bool(content["training"])
        self.dtype = str(content["dtype"])
        self._scan = Scan.from_dict({**run["scan"], "notes": run["notes"]})
        self._aliases = {name: seen.same_as for name, seen in self._scan.operations.items()}
        for name, seen in {**self._scan.modules, **self._scan.operations}.items():
            if not seen.reason and self._place(name) is None:
                seen.reason = f"was not captured (layers={', '.join(content['layers'])})"

    def state_dict(self) -> StoredState:
        """The module's weights, or what is known of them."""
        return self._recording.state_dict()

    def modules(self) -> Mapping[str, Any]:
        """What stands in for the modules; nothing if the file has no weights."""
        return stand_ins(self._content["modules"], self.state_dict())

    def scan(self, keep: int = 0) -> Scan:
        """What ran; there is nothing to keep."""
        return self._scan

    def stream(self, wanted: Collection[str], sink: Sink) -> str:
        """Reads each wanted value and gives it to `sink(name, value)`, in the order in which PyTorch computed them."""
        for name in self._in_order(wanted):
            sink(name, self._value(name))
        return self._scan.digest

    def observe(
        self,
        callers: Collection[str],
        wanted: Collection[str],
        sink: Sink,
        given: Callable[[str, list[np.ndarray]], None],
    ) -> str:
        """As `stream`; also the tensors that some modules and operations were given."""
        for name in callers:
            if name in self._run["given"]:
                given(name, [self._recording.read(place) for place in self._run["given"][name]])
        return self.stream(wanted, sink)

    def given(self, name: str, fed: Collection[str], inputs: Sequence[str]) -> Given:
        """Whether a module or operation was given what some others return, or the inputs, and nothing else."""
        found = self._run["given"].get(self._aliases.get(name, name))
        if found is None:
            return Given(True)
        named = self._run["named"] and set(inputs) == set(self._run["inputs"])
        names = list(self._run["inputs"]) if named else inputs
        taken = dict(zip(names, self._run["arguments"], strict=False))
        expected = [taken[n] if n in taken else self._place(n) for n in fed]
        strange = [place for place in found if not any(self._same(place, e) for e in expected)]
        lacking = [e for e in expected if not any(self._same(place, e) for place in found)]
        before = (n for place in strange for n in self._scan.modules if self._same(place, self._place(n), False))
        return Given(not strange and not lacking, next(before, ""))

    def randomness(self) -> str:
        """A file gives the same each time."""
        return ""

    def _in_order(self, wanted: Collection[str]) -> Iterator[str]:
        yield from (name for name in self._scan.order if name in wanted)
        yield from (label for label in self._scan.returned if label in wanted)

    def _place(self, name: str) -> Any:
        return self._run["values"].get(self._aliases.get(name, name))

    def _value(self, name: str) -> Any:
        place = self._place(name)
        if not isinstance(place, Mapping):
            return self._recording.read(place)
        means = self._recording.read(place["channels"]) if place["channels"] else np.zeros(0)
        facts = {name: place[name] for name in FACTS}
        return Sampled(tuple(place["shape"]), self._recording.read(place["values"]), channels=means, **facts)

    def _same(self, one: Any, other: Any, thorough: bool = True) -> bool:
        """Whether two places hold the same values in the same order, whatever their shapes."""
        if one is None or other is None or isinstance(other, Mapping):
            return False
        if one[0] == other[0]:
            return True
        if not thorough or np.prod(one[1]) != np.prod(other[1]):
            return False
        a, b = (self._recording.read(place).reshape(-1) for place in (one, other))
        return a.dtype == b.dtype and np.array_equal(a, b, equal_nan=a.dtype.kind == "f")  # 0 and -0


def _check_whole(path: Path) -> None:
    """Raises FileError if a .safetensors is cut off."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(length)) if 0 < length <= size - 8 else None
    except (ValueError, UnicodeDecodeError):
        return  # it is something else, which is said later
    except OSError as error:
        raise FileError(f"Can't read {path}: {error.strerror or error}.") from error
    if isinstance(header, dict):
        ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
        missing = 8 + length + max(ends, default=0) - size
        if missing > 0:
            raise FileError(f"{path} is cut off: {missing} bytes are missing at its end. Copy it again.")


def _has_torch() -> bool:
    try:
        require("torch", "torch")
    except Exception:  # not installed, or it does not load
        return False
    return True


def _listed(names: Any) -> str:
    return ", ".join(map(str, names))
