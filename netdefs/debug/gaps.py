"""Gaps: inputs of a network that stand for what its definition lacks so far, and are fed PyTorch's values of it."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from netdefs.core.errors import CompareError
from netdefs.debug.inputs import Feed, Feeds
from netdefs.debug.recording import RecordedRun
from netdefs.debug.reference import Reference
from netdefs.debug.samples import Sampled
from netdefs.debug.subject import Subject


class Filled:
    """Inputs of a comparison to which PyTorch's values of the gaps are added.

    Args:
        feeds: the inputs that were given.
        subject: the network.
        reference: gives PyTorch's side of one of them.
    """

    def __init__(self, feeds: Feeds, subject: Subject, reference: Callable[[Feed], Reference | RecordedRun]) -> None:
        self._feeds, self._subject, self._reference = feeds, subject, reference
        self._last: tuple[int, dict[str, np.ndarray]] = (-1, {})
        self.labels = feeds.labels

    def __len__(self) -> int:
        return len(self._feeds)

    def __iter__(self) -> Iterator[Feed]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, at: int) -> Feed:
        """The input of a position.

        Raises:
            CompareError: PyTorch shows no value of a gap.
            InputError: as `Feeds`.
        """
        feed = self._feeds[at]
        if self._last[0] != at:
            self._last = at, self._values(feed)
        return dataclasses.replace(feed, network={**feed.network, **self._last[1]})

    def _values(self, feed: Feed) -> dict[str, np.ndarray]:
        found: dict[str, np.ndarray] = {}
        reference, gaps = self._reference(feed), self._subject.gaps
        scan = reference.scan()
        known = {**scan.operations, **scan.modules}
        for name in gaps:
            reason = known[name].reason if name in known else "is neither a module nor a function that PyTorch calls"
            if reason:
                raise CompareError(f"The gap {name!r} of {self._subject.name} can't be filled: {name} {reason}.")

        def take(name: str, value: np.ndarray | Sampled) -> None:
            if isinstance(value, Sampled):
                raise CompareError(f"The gap {name!r} can't be filled: the capture has only samples of its values.")
            found[name] = self._subject.as_typed(name, value)

        reference.stream(gaps, take)
        return found


def gaps_in_words(gaps: Sequence[str]) -> str:
    """A note for the report, empty if there are no gaps."""
    if not gaps:
        return ""
    return f"Not defined yet, and fed PyTorch's values: {', '.join(gaps)}."
