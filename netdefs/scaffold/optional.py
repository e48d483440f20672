"""Bodies of which some have more statements than others: one pattern, in which those are optional, a `Cond`."""

from collections.abc import Sequence
from typing import Any

from netdefs.scaffold.program import ABSENT, Call, Cond, Hole, Turn, Value, changed, substituted
from netdefs.scaffold.unify import Instance, Mismatch, Unifier

MOST_OPTIONAL = 12  # statements in a row that only some instances have
MOST_TRIES = 4000  # positions at which what is optional is looked for before it is given up


class OptionalUnifier(Unifier):
    """Matches instances to the first and longest of them, the pattern: what others lack of it becomes optional.

    Args:
        instances: the pattern first.
        outputs: what is used of the pattern after its body.

    Attributes:
        renamed: for a value that optional statements make: the value that is either it or what is used instead.
    """

    def __init__(self, instances: Sequence[Instance], outputs: Sequence[Value] = ()) -> None:
        super().__init__(instances)
        self.outputs = list(outputs)
        self.renamed: dict[Value, Value] = {}
        self.tries = 0

    def body(self) -> list[Any]:
        """The pattern's body with holes and conditions.

        Raises:
            Mismatch: they are not the same, and do not differ in what is optional alone.
        """
        lengths = [len(each.body) for each in self.instances]
        if len(set(lengths)) == 1:
            return super().body()
        found = self._from([0] * len(lengths)) if lengths[0] == max(lengths) else None
        if found is None:
            raise Mismatch
        return found

    def _from(self, at: Sequence[int]) -> list[Any] | None:
        """The pattern from these statements on, one of each instance; None if that can't be."""
        self.tries += 1
        if self.tries > MOST_TRIES:
            raise Mismatch
        left = [len(each.body) - position for each, position in zip(self.instances, at, strict=True)]
        if not any(left):
            return [] if self._ends() else None
        if not left[0]:
            return None
        saved = self._matched()
        if all(left) and all(self._fits(k, at[0], position) for k, position in enumerate(at)):
            try:
                item = self.statement([each.body[position] for each, position in zip(self.instances, at, strict=True)])
                rest = self._from([position + 1 for position in at])
                if rest is not None:
                    return [item, *rest]
            except Mismatch:
                pass
            self._restore(saved)
        for length in range(min(MOST_OPTIONAL, left[0] - min(left)), 0, -1):
            found = self._optional(at, length)
            if found is not None:
                return found
            self._restore(saved)
        return None

    def _ends(self) -> bool:
        """Whether what stands for the pattern's outputs are outputs of every instance."""
        known = [each for each in self.instances if each.outputs]
        return all(each.values.get(value) in each.outputs for each in known for value in self.outputs)

    def _fits(self, k: int, place: int, own: int) -> bool:
        """Whether the pattern's statement at `place` could be the one of instance k at `own`."""
        mine, other = self.instances[0].body[place], self.instances[k].body[own]
        if type(mine) is not type(other):
            return False
        if not isinstance(mine, Call):
            return True
        if mine.function != other.function:
            return False
        if mine.path is None or other.path is None:
            return mine.path is other.path
        return self.instances[0].relative(mine.path) == self.instances[k].relative(other.path)

    def _optional(self, at: Sequence[int], length: int) -> list[Any] | None:
        """The pattern from here on, where the next `length` statements are there only in the instances that have them.

        Gives None if that can't be: what was matched meanwhile is then to be restored.
        """
        body = self.instances[0].body
        pattern, later = body[at[0] : at[0] + length], body[at[0] + length :]
        inside = [value for item in pattern for value in item.results]
        used = {value for item in later for value in item.values()} | set(self.outputs)
        kept = [value for value in inside if value in used]
        if len(kept) != 1:
            return None
        (made,) = kept
        having = [k for k in range(len(at)) if self._has(k, at, length)]
        lacking = [k for k in range(len(at)) if k not in having]
        if not lacking:
            return None
        theirs = [self.instances[k].body[at[k] : at[k] + length] for k in having]
        unifier = Unifier([self.instances[k] for k in having])
        try:
            optional = [unifier.statement(items) for items in zip(*theirs, strict=True)]
        except Mismatch:
            return None
        following = [position + (length if k in having else 0) for k, position in enumerate(at)]
        taken = dict.fromkeys(value for item in pattern for value in item.values() if value not in inside)
        saved = self._matched()
        for otherwise in taken:
            others = [self.instances[k].values for k in lacking]
            if otherwise.kind != made.kind or any(otherwise not in values for values in others):
                continue
            for values in others:
                values[made] = values[otherwise]
            rest = self._from(following)
            if rest is not None:
                optional = [_widened(item, having, len(at)) for item in optional]
                flag = Hole(tuple(k in having for k in range(len(at))))
                result = Value(made.kind, made.shape, made.dtype, made.hint)
                return [Cond(flag, optional, made, otherwise, result), *self._renamed(rest, made, result)]
            self._restore(saved)
        return None

    def _has(self, k: int, at: Sequence[int], length: int) -> bool:
        """Whether an instance has the pattern's next statements."""
        enough = at[k] + length <= len(self.instances[k].body)
        return enough and all(self._fits(k, at[0] + i, at[k] + i) for i in range(length))

    def _renamed(self, rest: Sequence[Any], made: Value, result: Value) -> list[Any]:
        """What comes after optional statements, using their `result` for what they have `made`."""
        for instance in self.instances:
            if made in instance.values:
                instance.values[result] = instance.values[made]
        self.renamed[made] = result
        return substituted(rest, {made: result})

    def _matched(self) -> list[tuple[dict[Value, Value], dict[Turn, Turn]]]:
        """What `_restore` needs to forget what is matched from now on."""
        return [(dict(each.values), dict(each.turns)) for each in self.instances]

    def _restore(self, saved: Sequence[tuple[dict[Value, Value], dict[Turn, Turn]]]) -> None:
        for each, (values, turns) in zip(self.instances, saved, strict=True):
            each.values, each.turns = dict(values), dict(turns)


def _widened(item: Any, having: Sequence[int], count: int) -> Any:
    """A statement that only these of `count` instances have, with a place for each instance in its holes."""

    def change(leaf: Any) -> Any:
        if not isinstance(leaf, Hole):
            return leaf
        known = dict(zip(having, leaf.values, strict=True))
        return Hole(tuple(known.get(k, ABSENT) for k in range(count)))

    return changed(item, change)
