"""Attention, composed of products and a softmax: TensorRT fuses them itself."""

import math

import numpy as np

from netdefs.core.errors import NetworkError
from netdefs.core.layers.operands import BOOL, Value
from netdefs.core.layers.pointwise import Pointwise
from netdefs.core.scope import Tensor, describe


class Attention(Pointwise):
    """Attention."""

    def scaled_dot_product_attention(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        name: str | None,
        mask: Value | None = None,
        is_causal: bool = False,
        scale: float | None = None,
    ) -> Tensor:
        """`F.scaled_dot_product_attention`: softmax(scale * query key^T + mask) value, the softmax in float32.

        Args:
            query: (..., L, E), of rank 3 or more.
            key: (..., S, E).
            value: (..., S, Ev); the result is (..., L, Ev).
            mask: a tensor or array that broadcasts to (..., L, S): of booleans, true where a key takes part, or of
                numbers that are added. A query without any key that takes part gives 0.
            is_causal: query i sees the keys 0 to i, instead of a mask. L and S must be fixed.
            scale: by default 1 / sqrt(E).

        Raises:
            NetworkError: there is a mask and `is_causal`, or the shapes don't fit.
        """
        path = self.path_of(name)
        shapes = [tuple(x.shape) for x in (query, key, value)]
        if min(map(len, shapes)) < 3 or shapes[0][-1] != shapes[1][-1] or shapes[1][-2] != shapes[2][-2]:
            found = ", ".join(map(describe, (query, key, value)))
            raise NetworkError(f"{path}: attention takes (..., L, E), (..., S, E) and (..., S, Ev), not {found}.")
        if is_causal and mask is not None:
            raise NetworkError(f"{path}: attention takes a mask or is_causal, not both; make them one mask.")
        if is_causal:
            queries, keys = (self.known_size(x, len(x.shape) - 2, f"causal attention {path!r}") for x in (query, key))
            mask = np.tri(queries, keys, dtype=bool)
        if scale is None:
            scale = self.known_size(query, len(query.shape) - 1, path) ** -0.5
        # Queries are scaled, not scores: those of half precision may overflow.
        query = self.mul(query, scale, self.child(name, "query"))
        scores = self.matmul(query, key, self.child(name, "scores"), transpose_b=True)
        weights, seen = self.child(name, "weights"), None
        if mask is not None:
            scores, seen = self._masked(scores, mask, name, weights)
        attended = self.softmax(scores, weights, dim=-1)
        if seen is not None:
            attended = self.where(seen, attended, 0.0, self.child(name, "weights.seen"))
        return self.matmul(attended, value, name)

    def _masked(self, scores: Tensor, mask: Value, name: str | None, weights: str) -> tuple[Tensor, Value | None]:
        """The scores under a mask; and where keys take part, if for some query none does.

        The softmax of that query's scores would be no number, or of keys that it must not see.
        """
        child, seen = self.child(name, "masked"), mask
        if self._category(mask, self.path_of(name)) == BOOL:
            lowest = float(np.finfo(np.float32).min)
            scores = self.where(mask, scores, lowest, child)
        else:
            # Masks hold numbers like -1e9, which half precision does not: they are added in the type of the softmax.
            if not self.is_tensor(mask):
                seen = np.asarray(mask) > -math.inf
                mask = np.where(seen.any(axis=-1, keepdims=True), mask, 0.0)
            scores, added = self._values(weights, scores, mask, rule=True)
            scores = self._binary(scores, added, child, "SUM")
        if self.is_tensor(mask):
            return scores, seen if mask.dtype == self.trt.bool else None
        return scores, None if np.any(seen, axis=-1).all() else seen
