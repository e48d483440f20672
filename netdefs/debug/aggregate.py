"""Rows of several inputs as one table: of each layer the worst, and the mean."""

import dataclasses
import math
from collections.abc import Sequence

from netdefs.debug.metrics import Metrics
from netdefs.debug.row import Over, Row

WAYS = ("chained", "isolated")


class Aggregate:
    """Takes the rows of one input after another and keeps the worst of each layer; memory does not grow with them."""

    def __init__(self) -> None:
        self._rows: dict[str, Row] = {}
        self._sums: dict[tuple[str, str], tuple[float, int]] = {}
        self._wrong: dict[str, int] = {}
        self._worst: dict[str, tuple[int, float]] = {}
        self._count = 0

    def add(self, rows: Sequence[Row]) -> None:
        """Takes the rows of the next input."""
        at = self._count
        self._count += 1
        for row in rows:
            self._wrong[row.name] = self._wrong.get(row.name, 0) + (not row.ok)
            for way in WAYS:
                metrics = getattr(row, way)
                total, seen = self._sums.get((row.name, way), (0.0, 0))
                if metrics is not None:
                    self._sums[row.name, way] = total + metrics.relative, seen + 1
            badness = _badness(row)
            if row.name not in self._rows:
                self._rows[row.name], self._worst[row.name] = row, badness
                row.worst_input = at
            else:
                first, is_worse = self._rows[row.name], badness > self._worst[row.name]
                kept = row if is_worse else first
                self._rows[row.name] = _worse_of(first, row, kept)
                if is_worse:
                    self._worst[row.name], self._rows[row.name].worst_input = badness, at

    def rows(self, order: Sequence[str]) -> list[Row]:
        """One row for each layer, in execution order."""
        place = {name: i for i, name in enumerate(order)}
        found = sorted(self._rows.values(), key=lambda row: place.get(row.name, len(place)))
        if self._count > 1:
            for row in found:
                means = [self._mean(row.name, way) for way in WAYS]
                row.over = Over(self._count, self._wrong[row.name], means[0], means[1])
        return found

    def _mean(self, name: str, way: str) -> float | None:
        total, seen = self._sums.get((name, way), (0.0, 0))
        return total / seen if seen else None


def _worse_of(first: Row, second: Row, kept: Row) -> Row:
    """A row with the worse numbers of two; for each way of feeding, those of the input that is worse that way."""
    merged = dataclasses.replace(kept, worst_input=first.worst_input)
    for way in WAYS:
        worse = second if _state(second, way) > _state(first, way) else first
        for name in (way, f"{way}_shape", f"{way}_details", *(("isolated_error",) if way == "isolated" else ())):
            setattr(merged, name, getattr(worse, name))
    return merged


def _state(row: Row, way: str) -> tuple[int, float]:
    """How bad a row is in one way: another shape is worse than numbers that are wrong, and these than right ones."""
    metrics: Metrics | None = getattr(row, way)
    if getattr(row, f"{way}_shape") is not None:
        return 3, math.inf
    if metrics is not None:
        return (1 if metrics.ok else 2), metrics.relative
    return (2, math.inf) if way == "isolated" and row.isolated_error else (0, 0.0)


def _badness(row: Row) -> tuple[int, float]:
    """How bad a row is: what is wrong by itself comes before what inherits it."""
    rank = {"ok": 0, "inherited": 1, "wrong": 2, "own error": 3}[row.verdict]
    way = "isolated" if row.verdict == "own error" else "chained"
    if getattr(row, way) is None and getattr(row, f"{way}_shape") is None:
        way = "isolated" if way == "chained" else "chained"
    return rank, _state(row, way)[1]
