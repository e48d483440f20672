"""Layers with weights: convolution, deconvolution, batch norm, linear."""

from typing import Any

import numpy as np

from netdefs.core.errors import NetworkError
from netdefs.core.layers.shaping import Shaping
from netdefs.core.scope import IntPair, Layer, Self, Tensor, configure, pair
from netdefs.core.weights import COUNTER


class Convolutions(Shaping):
    """Layers with weights. A layer and its output carry the exact name of the PyTorch module."""

    def conv(
        self,
        x: Tensor,
        name: str | None,
        out_channels: int,
        kernel: IntPair,
        stride: IntPair = 1,
        padding: IntPair = 0,
        dilation: IntPair = 1,
        groups: int = 1,
        bias: bool = True,
    ) -> Tensor:
        """`nn.Conv2d`: (N, C, H, W) -> (N, out_channels, H', W'). Weights: `name.weight`, `name.bias`."""
        scope = self.module(name)
        shape = (out_channels, self._channels_per_group(x, scope.path, groups), *pair(kernel))
        weight = scope.weight("weight", shape, x)
        offset = scope.weight("bias", (out_channels,), x) if bias else self.trt.Weights(x.dtype)
        return self.convolution(x, name, out_channels, kernel, weight, offset, stride, padding, dilation, groups)

    def convolution(
        self,
        x: Tensor,
        name: str | None,
        out_channels: int,
        kernel: IntPair,
        weight: Any,
        bias: Any,
        stride: IntPair = 1,
        padding: IntPair = 0,
        dilation: IntPair = 1,
        groups: int = 1,
    ) -> Tensor:
        """A convolution whose weights are given, not looked up: what `conv` and folded batch norms are made of."""
        layer = self.definition.add_convolution_nd(x, out_channels, pair(kernel), weight, bias)
        _configure(layer, stride, padding, dilation, groups)
        return self.layer(layer, name, x)

    def deconv(
        self,
        x: Tensor,
        name: str | None,
        out_channels: int,
        kernel: IntPair,
        stride: IntPair = 1,
        padding: IntPair = 0,
        output_padding: IntPair = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: IntPair = 1,
    ) -> Tensor:
        """`nn.ConvTranspose2d`: (N, C, H, W) -> (N, out_channels, H', W'). Weights: `name.weight`, `name.bias`."""
        scope = self.module(name)
        options = (out_channels, pair(kernel), stride, pair(padding), pair(output_padding), groups, bias, dilation)
        if x.dtype != self.trt.bfloat16 or self.trt.__name__ != "tensorrt_rtx":
            return self._deconv(x, name, scope, *options)
        # TensorRT-RTX has no deconvolution for bfloat16: its build fails. In float32 it loses nothing but time.
        wide = self.cast(x, self.child(name, "float32"), self.trt.float32)
        return self.cast(self._deconv(wide, self.child(name, "deconv"), scope, *options), name, x.dtype)

    def _deconv(
        self,
        x: Tensor,
        name: str | None,
        scope: Self,
        out_channels: int,
        kernel: tuple[int, int],
        stride: IntPair,
        pad: tuple[int, int],
        grow: tuple[int, int],
        groups: int,
        bias: bool,
        dilation: IntPair,
    ) -> Tensor:
        """A deconvolution called `name` with the weights of `scope`."""
        in_channels = self._channels_per_group(x, scope.path, groups) * groups
        if out_channels % groups:
            raise NetworkError(f"{scope.path}: groups={groups} does not divide {out_channels} output channels.")
        weight = scope.weight("weight", (in_channels, out_channels // groups, *kernel), x)
        offset = scope.weight("bias", (out_channels,), x) if bias else self.trt.Weights(x.dtype)
        if any(g >= max(s, d) for g, s, d in zip(grow, pair(stride), pair(dilation), strict=True)):
            raise NetworkError(f"{scope.path}: output_padding={grow} must be smaller than stride or dilation.")
        # Output padding uncovers rows that the padding had cut off. Where it asks for more than was cut, the rows
        # beyond hold no product of the kernel: they are zero, plus the bias, which then has to be added after them.
        beyond = tuple(max(g - p, 0) for g, p in zip(grow, pad, strict=True))
        inner = self.child(name, "short") if any(beyond) else name
        layer = self.definition.add_deconvolution_nd(
            x, out_channels, kernel, weight, self.trt.Weights(x.dtype) if any(beyond) else offset
        )
        _configure(layer, stride, pad, dilation, groups)
        configure(layer, post_padding=tuple(max(p - g, 0) for g, p in zip(grow, pad, strict=True)))
        out = self.layer(layer, inner, x)
        if not any(beyond):
            return out
        out = self.pad(out, self.child(name, "pad") if bias else name, (0, beyond[1], 0, beyond[0]))
        if not bias:
            return out
        shift = self.weights.take(scope.path_of("bias"), (out_channels,)).reshape(1, -1, 1, 1)
        shift = self.constant(shift, self.child(name, "bias"), like=x)
        return self.layer(
            self.definition.add_elementwise(out, shift, self.trt.ElementWiseOperation.SUM), name, out, shift
        )

    def batch_norm(self, x: Tensor, name: str | None, eps: float = 1e-5) -> Tensor:
        """`nn.BatchNorm*d` in eval mode, over axis 1 of any rank >= 2.

        `eps` is the variant's; where gen_wts found the checkpoint's own, that counts. Weights: `name.weight`,
        `name.bias`, `name.running_mean`, `name.running_var`.
        """
        scale, shift = self.batch_norm_terms(name, self.known_size(x, 1, f"batch_norm {name!r}"), eps)
        path, trt = self.path_of(name), self.trt
        layer = self.definition.add_scale_nd(
            x,
            trt.ScaleMode.CHANNEL,
            self.convert(shift, x.dtype, f"{path}'s shift"),
            self.convert(scale, x.dtype, f"{path}'s scale"),
            trt.Weights(x.dtype),
            1,
        )
        return self.layer(layer, name, x)

    def batch_norm_terms(self, name: str | None, channels: int, eps: float) -> tuple[np.ndarray, np.ndarray]:
        """A batch norm as y = x * scale + shift, both (channels,) float64."""
        scope = self.module(name)
        scope.ignore(COUNTER)
        known = self.weights.eps(scope.path)
        gamma, beta, mean, var = (
            self.weights.take(scope.path_of(key), (channels,)).astype(np.float64)
            for key in ("weight", "bias", "running_mean", "running_var")
        )
        variance = var + (eps if known is None else known)
        if not (variance > 0).all():
            raise NetworkError(f"{scope.path}: running_var + eps must be positive; its smallest is {variance.min():g}.")
        scale = gamma / np.sqrt(variance)
        return scale, beta - mean * scale

    def folded_conv(
        self,
        x: Tensor,
        conv: str,
        bn: str,
        out_channels: int,
        kernel: IntPair,
        stride: IntPair = 1,
        padding: IntPair = 0,
        dilation: IntPair = 1,
        groups: int = 1,
        bias: bool = False,
        eps: float = 1e-5,
    ) -> Tensor:
        """A convolution with its batch norm folded in, in float64. It is called `bn`; `conv` has no layer."""
        scope = self / conv
        shape = (out_channels, self._channels_per_group(x, scope.path, groups), *pair(kernel))
        weight = self.weights.take(scope.path_of("weight"), shape).astype(np.float64)
        scale, shift = self.batch_norm_terms(bn, out_channels, eps)
        if bias:
            shift += self.weights.take(scope.path_of("bias"), (out_channels,)) * scale
        weight *= scale.reshape(-1, 1, 1, 1)
        path = self.path_of(bn)
        self.folded[scope.path] = path
        weights = self.convert(weight, x.dtype, f"{path}'s folded weight")
        biases = self.convert(shift, x.dtype, f"{path}'s folded bias")
        return self.convolution(x, bn, out_channels, kernel, weights, biases, stride, padding, dilation, groups)

    def linear(self, x: Tensor, name: str | None, out_features: int, bias: bool = True) -> Tensor:
        """`nn.Linear` over the last axis: (..., in_features) -> (..., out_features). Weights: `name.weight`, `bias`."""
        scope = self.module(name)
        rank = len(x.shape)
        in_features = self.known_size(x, rank - 1, f"linear {name!r}")
        ones = (1,) * (rank - 2)
        op = self.trt.MatrixOperation
        weight = self.weights.take(scope.path_of("weight"), (out_features, in_features))
        kernel = self.constant(weight.reshape(*ones, *weight.shape), self.child(name, "weight"), like=x)
        product = self.definition.add_matrix_multiply(x, op.NONE, kernel, op.TRANSPOSE)
        out = self.layer(product, self.child(name, "matmul") if bias else name, x, kernel)
        if not bias:
            return out
        offset = self.weights.take(scope.path_of("bias"), (out_features,)).reshape(*ones, 1, out_features)
        shift = self.constant(offset, self.child(name, "bias"), like=x)
        total = self.definition.add_elementwise(out, shift, self.trt.ElementWiseOperation.SUM)
        return self.layer(total, name, out, shift)

    def _channels_per_group(self, x: Tensor, path: str, groups: int) -> int:
        channels = self.known_size(x, 1, path)
        if groups < 1 or channels % groups:
            raise NetworkError(f"{path}: groups={groups} does not divide the {channels} channels of its input.")
        return channels // groups


def _configure(layer: Layer, stride: IntPair, padding: IntPair, dilation: IntPair, groups: int) -> None:
    configure(layer, stride_nd=pair(stride), padding_nd=pair(padding), dilation_nd=pair(dilation), num_groups=groups)
