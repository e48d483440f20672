"""Batch norm, as it is in eval mode: a scale and a shift for every channel."""

import numpy as np

from netdefs.core.errors import NetworkError
from netdefs.core.layers.shaping import Shaping
from netdefs.core.scope import Tensor
from netdefs.core.weights import COUNTER


class BatchNorm(Shaping):
    """Batch norm, as a layer and as its terms."""

    def batch_norm(
        self, x: Tensor, name: str | None, eps: float = 1e-5, conv: str | None = None, affine: bool = True
    ) -> Tensor:
        """`nn.BatchNorm*d` in eval mode, over axis 1 of (N, C), (N, C, L), (N, C, H, W) or a higher rank.

        `eps` is the variant's; where gen_wts found the checkpoint's own, that counts. Weights: `name.running_mean`,
        `name.running_var`, and if it is `affine` `name.weight`, `name.bias`. `conv` is the convolution before it, if
        there is one: see there.
        """
        scale, shift = self.batch_norm_terms(name, self.known_size(x, 1, f"batch_norm {name!r}"), eps, affine)
        path, trt = self.path_of(name), self.trt
        (x,) = self.typed(name, x, of=conv)
        layer = self.definition.add_scale_nd(
            x,
            trt.ScaleMode.CHANNEL,
            self.convert(shift, x.dtype, f"{path}'s shift"),
            self.convert(scale, x.dtype, f"{path}'s scale"),
            trt.Weights(x.dtype),
            1,
        )
        return self.derived(self.layer(layer, name, x), x)

    def batch_norm_terms(
        self, name: str | None, channels: int, eps: float, affine: bool = True
    ) -> tuple[np.ndarray, np.ndarray]:
        """A batch norm as y = x * scale + shift, both (channels,) float64."""
        scope = self.module(name)
        scope.ignore(COUNTER)
        known = self.weights.eps(scope.path)
        *terms, mean, var = (
            scope.parameter(key, (channels,)).astype(np.float64)
            for key in (*(("weight", "bias") if affine else ()), "running_mean", "running_var")
        )
        gamma, beta = terms or (np.ones(channels), np.zeros(channels))
        variance = var + (eps if known is None else known)
        if not (variance > 0).all():
            raise NetworkError(f"{scope.path}: running_var + eps must be positive; its smallest is {variance.min():g}.")
        scale = gamma / np.sqrt(variance)
        return scale, beta - mean * scale
