"""Einstein sums."""

from collections.abc import Sequence

import numpy as np

from netdefs.core.errors import NetworkError
from netdefs.core.layers.shaping import Shaping
from netdefs.core.scope import Tensor, describe

LETTERS = "abcdefghijklmnopqrstuvwxyz"  # TensorRT's names of axes


class Einsum(Shaping):
    """Einstein sums."""

    def einsum(self, equation: str, tensors: Sequence[Tensor | np.ndarray], name: str | None) -> Tensor:
        """`torch.einsum`; arrays may be among the tensors. More than two are multiplied pair by pair, from the left.

        Raises:
            NetworkError: the equation does not suit the tensors, or takes a diagonal (`ii`), which TensorRT can't.
        """
        operands = self.typed(name, *self.as_tensors(name, *tensors))
        terms, result = parsed(equation, operands, self.path_of(name))
        # TensorRT does not repeat an axis of size 1 to the length that it has elsewhere: left out, it means the same.
        pairs = list(zip(operands, terms, strict=True))
        longer = {a for x, term in pairs for a, n in zip(term, x.shape, strict=True) if n != 1}
        for i, (x, term) in enumerate(pairs):
            single = [axis for axis, (a, n) in enumerate(zip(term, x.shape, strict=True)) if n == 1 and a in longer]
            if single:
                operands[i] = self.squeeze(x, self.child(name, f"squeeze.{i}"), single)
                terms[i] = "".join(a for axis, a in enumerate(term) if axis not in single)
        for i in range(len(terms) - 2):
            later = set(result).union(*terms[2:])
            product = "".join(a for a in dict.fromkeys(terms[0] + terms[1]) if a in later)
            pair = self._einsum(terms[:2], product, operands[:2], self.child(name, f"product.{i}"))
            terms, operands = [product, *terms[2:]], [pair, *operands[2:]]
        return self._einsum(terms, result, operands, name)

    def _einsum(self, terms: Sequence[str], result: str, operands: Sequence[Tensor], name: str | None) -> Tensor:
        layer = self.definition.add_einsum(list(operands), f"{','.join(terms)}->{result}")
        return self.layer(layer, name, *operands)


def parsed(equation: str, operands: Sequence[Tensor], path: str) -> tuple[list[str], str]:
    """The axes of every operand, and those of the result, as `LETTERS`.

    Raises:
        NetworkError: the equation does not suit the operands, or takes a diagonal.
    """

    def error(reason: str) -> NetworkError:
        found = ", ".join(map(describe, operands))
        return NetworkError(f"{path}: the equation {equation!r} does not suit {found}: {reason}.")

    left, arrow, right = equation.replace(" ", "").partition("->")
    inputs = left.split(",")
    if len(inputs) != len(operands):
        raise error(f"it has {len(inputs)} terms for {len(operands)} operands")
    counts = [len(x.shape) - len(term.replace("...", "")) for term, x in zip(inputs, operands, strict=True)]
    for term, count in zip(inputs, counts, strict=True):
        if count < 0 or (count > 0 and "..." not in term):
            raise error(f"the term {term!r} has another number of axes than its operand")
    # Axes that an ellipsis stands for are numbered, from the last one, beyond the letters that an equation can have.
    inner = [chr(0x100 + i) for i in reversed(range(max(counts)))]
    terms = [term.replace("...", "".join(inner[len(inner) - n :])) for term, n in zip(inputs, counts, strict=True)]
    axes = "".join(terms)
    if arrow:
        result = right.replace("...", "".join(inner))
    else:
        result = "".join([*inner, *sorted(a for a in set(axes) - set(inner) if axes.count(a) == 1)])
    for term in (*terms, result):
        for a in term:
            if not a.isalpha() or a not in axes:
                raise error(f"{a!r} is no axis of an operand")
            if term.count(a) > 1:
                raise error(f"the axis {a!r} is there twice in one term: take the diagonal with `index`")
    sizes: dict[str, int] = {}
    for term, x in zip(terms, operands, strict=True):
        for a, n in zip(term, map(int, x.shape), strict=True):
            if n not in (1, -1) and sizes.setdefault(a, n) != n:
                raise error(f"the axis {a!r} has both the size {sizes[a]} and {n}")
    names = dict(zip(dict.fromkeys(axes), LETTERS, strict=False))
    if len(names) < len(set(axes)):
        raise error(f"it has more than {len(LETTERS)} axes")
    return ["".join(names[a] for a in term) for term in terms], "".join(names[a] for a in result)
