"""Convolutions and deconvolutions, with their weights looked up, given, or with a batch norm folded in."""

from typing import Any

import numpy as np

from netdefs.core.errors import NetworkError
from netdefs.core.layers.batch_norm import BatchNorm
from netdefs.core.layers.quantized import Operand
from netdefs.core.layers.reshaping import sizes_of
from netdefs.core.scope import IntPair, IntSides, IntTriple, Layer, Tensor, configure, describe, each_side, pair


class Convolutions(BatchNorm):
    """Convolutions. A layer and its output carry the exact name of the PyTorch module."""

    fold_bn: bool

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
        bn: str | None = None,
    ) -> Tensor:
        """`nn.Conv2d`: (N, C, H, W) -> (N, out_channels, H', W'). Weights: `name.weight`, `name.bias`.

        `bn` is the batch norm behind it, if there is one: both have one precision, that of either name.
        """
        scope = self.module(name)
        shape = (out_channels, self._channels_per_group(x, scope.path, groups), *pair(kernel))
        weight, offset = scope._parameters(shape, out_channels if bias else 0)
        options = (stride, padding, dilation, groups)
        return self.convolution(x, name, out_channels, kernel, weight, offset, *options, of=bn)

    def convolution(
        self,
        x: Tensor,
        name: str | None,
        out_channels: int,
        kernel: IntSides,
        weight: np.ndarray,
        bias: np.ndarray | None,
        stride: IntSides = 1,
        padding: IntSides = 0,
        dilation: IntSides = 1,
        groups: int = 1,
        of: str | None = None,
        key: str | None = None,
    ) -> Tensor:
        """A convolution whose weights are given, not looked up: what `conv` and folded batch norms are made of.

        x is (N, C, H, W), or (N, C, D, H, W); a convolution of the latter is not quantized. `of` is another name that
        its precision goes by, `key` the weight's name, by default `<name>.weight`.
        """
        sides = weight.ndim - 2
        (operand,) = self.operands(name, "conv", x, of=of, quantizable=sides == 2)
        key = self.path_of(key or self.child(name, "weight"))
        offset = self._bias(bias, operand, name)
        kernels, quantized = self._kernel(weight, key, 0, operand, name)
        layer = self.definition.add_convolution_nd(
            operand.tensor, out_channels, each_side(kernel, sides), kernels, offset
        )
        if quantized is not None and layer is not None:
            layer.set_input(1, quantized)
        _configure(layer, stride, padding, dilation, groups, sides)
        return self.computed(self.layer(layer, name, operand.tensor))

    def conv1d(
        self,
        x: Tensor,
        name: str | None,
        out_channels: int,
        kernel: int,
        stride: int = 1,
        padding: int = 0,
        dilation: int = 1,
        groups: int = 1,
        bias: bool = True,
    ) -> Tensor:
        """`nn.Conv1d`: (N, C, L) -> (N, out_channels, L'). Weights: `name.weight`, `name.bias`.

        TensorRT convolves pictures: it is one of a single row, `name.conv`.
        """
        scope, path = self.module(name), self.path_of(name)
        row = self._as_row(x, name, "conv1d")
        shape = (out_channels, self._channels_per_group(x, path, groups), kernel)
        weight, offset = scope._parameters(shape, out_channels if bias else 0)
        out = self.convolution(
            row,
            self.child(name, "conv"),
            out_channels,
            (1, kernel),
            weight[:, :, None],
            offset,
            (1, stride),
            (0, padding),
            (1, dilation),
            groups,
            of=name,
            key=self.child(name, "weight"),
        )
        return self._of_row(out, name)

    def conv3d(
        self,
        x: Tensor,
        name: str | None,
        out_channels: int,
        kernel: IntTriple,
        stride: IntTriple = 1,
        padding: IntTriple = 0,
        dilation: IntTriple = 1,
        groups: int = 1,
        bias: bool = True,
    ) -> Tensor:
        """`nn.Conv3d`: (N, C, D, H, W) -> (N, out_channels, D', H', W'). Weights: `name.weight`, `name.bias`.

        In int8 and fp8 it stays in floating point.

        Raises:
            NetworkError: x has another rank, or the groups, weights or sizes don't fit.
        """
        scope, path = self.module(name), self.path_of(name)
        if len(x.shape) != 5:
            raise NetworkError(f"{path}: conv3d takes (N, C, D, H, W), not {describe(x)}.")
        shape = (out_channels, self._channels_per_group(x, path, groups), *each_side(kernel, 3))
        weight, offset = scope._parameters(shape, out_channels if bias else 0)
        options = (stride, padding, dilation, groups)
        return self.convolution(x, name, out_channels, kernel, weight, offset, *options)

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
        bn: str | None = None,
    ) -> Tensor:
        """`nn.ConvTranspose2d`: (N, C, H, W) -> (N, out_channels, H', W'); weights and `bn` as `conv`'s."""
        scope = self.module(name)
        in_channels = self._channels_per_group(x, scope.path, groups) * groups
        if out_channels % groups:
            raise NetworkError(f"{scope.path}: groups={groups} does not divide {out_channels} output channels.")
        shape = (in_channels, out_channels // groups, *pair(kernel))
        weight, offset = scope._parameters(shape, out_channels if bias else 0)
        window = (pair(kernel), stride, pair(padding), pair(output_padding))
        return self.deconvolution(x, name, out_channels, *window, weight, offset, groups, dilation, of=bn)

    def deconv1d(
        self,
        x: Tensor,
        name: str | None,
        out_channels: int,
        kernel: int,
        stride: int = 1,
        padding: int = 0,
        output_padding: int = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: int = 1,
    ) -> Tensor:
        """`nn.ConvTranspose1d`: (N, C, L) -> (N, out_channels, L'). Weights: `name.weight`, `name.bias`.

        As `conv1d` it is one of a single row, `name.deconv`.

        Raises:
            NetworkError: x has another rank, or the groups, weights or sizes don't fit.
        """
        scope, path = self.module(name), self.path_of(name)
        row = self._as_row(x, name, "deconv1d")
        in_channels = self._channels_per_group(x, path, groups) * groups
        if out_channels % groups:
            raise NetworkError(f"{path}: groups={groups} does not divide {out_channels} output channels.")
        shape = (in_channels, out_channels // groups, kernel)
        weight, offset = scope._parameters(shape, out_channels if bias else 0)
        out = self.deconvolution(
            row,
            self.child(name, "deconv"),
            out_channels,
            (1, kernel),
            (1, stride),
            (0, padding),
            (0, output_padding),
            weight[:, :, None],
            offset,
            groups,
            (1, dilation),
            of=name,
            key=self.child(name, "weight"),
        )
        return self._of_row(out, name)

    def deconvolution(
        self,
        x: Tensor,
        name: str | None,
        out_channels: int,
        kernel: tuple[int, int],
        stride: IntPair,
        pad: tuple[int, int],
        grow: tuple[int, int],
        weight: np.ndarray,
        bias: np.ndarray | None,
        groups: int = 1,
        dilation: IntPair = 1,
        of: str | None = None,
        key: str | None = None,
    ) -> Tensor:
        """A deconvolution whose weights are given, with its padding and output padding; see `convolution`."""
        path, trt = self.path_of(name), self.trt
        if any(g >= max(s, d) for g, s, d in zip(grow, pair(stride), pair(dilation), strict=True)):
            raise NetworkError(f"{path}: output_padding={grow} must be smaller than stride or dilation.")
        # TensorRT-RTX has no deconvolution for bfloat16: its build fails. In float32 it loses nothing but time.
        choice = self.choice(name, x, of=of)
        narrow = choice.dtype == "bfloat16" and trt.__name__ == "tensorrt_rtx"
        last = self.child(name, "deconv") if narrow else name
        (operand,) = self.operands(name, "deconv", x, of=of, dtype=trt.float32 if narrow else None)
        key = self.path_of(key or self.child(name, "weight"))
        # Output padding uncovers rows that the padding had cut off. Where it asks for more than was cut, the rows
        # beyond hold no product of the kernel: they are zero, plus the bias, which then has to be added after them.
        beyond = tuple(max(g - p, 0) for g, p in zip(grow, pad, strict=True))
        kernels, quantized = self._kernel(weight, key, 1, operand, name)
        inner = self._bias(None if any(beyond) else bias, operand, name)
        layer = self.definition.add_deconvolution_nd(operand.tensor, out_channels, kernel, kernels, inner)
        if quantized is not None and layer is not None:
            layer.set_input(1, quantized)
        _configure(layer, stride, pad, dilation, groups)
        configure(layer, post_padding=tuple(max(p - g, 0) for g, p in zip(grow, pad, strict=True)))
        out = self.computed(self.layer(layer, self.child(last, "short") if any(beyond) else last, operand.tensor))
        if any(beyond):
            out = self.pad(out, self.child(last, "pad") if bias is not None else last, (0, beyond[1], 0, beyond[0]))
            if bias is not None:
                shift = self.constant(bias.reshape(1, -1, 1, 1), self.child(last, "bias"), like=out)
                sum_ = self.definition.add_elementwise(out, shift, trt.ElementWiseOperation.SUM)
                out = self.layer(sum_, last, out, shift)
        if not narrow:
            return out
        return self.computed(self.layer(self.definition.add_cast(out, trt.bfloat16), name, out))

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
        shape = (out_channels, self._channels_per_group(x, self.path_of(conv), groups), *pair(kernel))
        weight, offset = self._folded(conv, bn, shape, bias, eps, axis=0)
        options = (stride, padding, dilation, groups, conv, f"{conv}.weight")
        return self.convolution(x, bn, out_channels, kernel, weight, offset, *options)

    def folded_deconv(
        self,
        x: Tensor,
        deconv: str,
        bn: str,
        out_channels: int,
        kernel: IntPair,
        stride: IntPair = 1,
        padding: IntPair = 0,
        output_padding: IntPair = 0,
        bias: bool = False,
        eps: float = 1e-5,
    ) -> Tensor:
        """A deconvolution with its batch norm folded in, as `folded_conv`."""
        shape = (self._channels_per_group(x, self.path_of(deconv), 1), out_channels, *pair(kernel))
        weight, offset = self._folded(deconv, bn, shape, bias, eps, axis=1)
        window = (pair(kernel), stride, pair(padding), pair(output_padding))
        return self.deconvolution(x, bn, out_channels, *window, weight, offset, of=deconv, key=f"{deconv}.weight")

    def folds(self, x: Tensor, conv: str, bn: str) -> bool:
        """Whether the batch norm `bn` becomes a part of the convolution `conv` of x."""
        return self.fold_bn or self.choice(bn, x, of=conv, quantizable=True).quantized is not None

    def _parameters(self, shape: tuple[int, ...], biases: int) -> tuple[np.ndarray, np.ndarray | None]:
        """The weight of the module whose scope this is, and its bias, None if it has 0 of them."""
        return self.parameter("weight", shape), self.parameter("bias", (biases,)) if biases else None

    def _folded(
        self, conv: str, bn: str, shape: tuple[int, ...], bias: bool, eps: float, axis: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Weight and bias, float64, of a convolution `conv` that does what the batch norm `bn` does behind it.

        `axis` of the weight is that of the output channels.
        """
        weight, offset = (self / conv)._parameters(shape, shape[axis] if bias else 0)
        scale, shift = self.batch_norm_terms(bn, shape[axis], eps)
        if offset is not None:
            shift += offset * scale
        self.folded[self.path_of(conv)] = self.path_of(bn)
        self.quantization.factors[self.path_of(f"{conv}.weight")] = np.abs(scale)
        return weight * scale.reshape([-1 if i == axis else 1 for i in range(weight.ndim)]), shift

    def _kernel(
        self, weight: np.ndarray, key: str, axis: int, x: Operand, name: str | None
    ) -> tuple[Any, Tensor | None]:
        """A kernel as weights for an `add_*` call; or no weights, and the tensor that holds them quantized."""
        if x.kind is None:
            return self.convert(weight, x.dtype, key), None
        return self.trt.Weights(x.dtype), self.quantized_weight(self.path_of(name), weight, key, axis, x)

    def _bias(self, bias: np.ndarray | None, x: Operand, name: str | None) -> Any:
        """A bias as weights for an `add_*` call."""
        if bias is None:
            return self.trt.Weights(x.dtype)
        return self.convert(bias, x.dtype, f"{self.path_of(name)}'s bias")

    def _as_row(self, x: Tensor, name: str | None, what: str) -> Tensor:
        """(N, C, L) as pictures of a single row, `<name>.row`: TensorRT convolves no others."""
        if len(x.shape) != 3:
            raise NetworkError(f"{self.path_of(name)}: {what} takes (N, C, L), not {describe(x)}.")
        n, channels, length = sizes_of(x)
        return self._reshape(x, self.child(name, "row"), [n, channels, 1, length])

    def _of_row(self, out: Tensor, name: str | None) -> Tensor:
        """What was made of such pictures as (N, C, L)."""
        n, channels, _, length = sizes_of(out)
        return self._reshape(out, name, [n, channels, length])

    def _channels_per_group(self, x: Tensor, path: str, groups: int) -> int:
        channels = self.known_size(x, 1, path)
        if groups < 1 or channels % groups:
            raise NetworkError(f"{path}: groups={groups} does not divide the {channels} channels of its input.")
        return channels // groups


def _configure(layer: Layer, stride: Any, padding: Any, dilation: Any, groups: int, sides: int = 2) -> None:
    options = {"stride_nd": stride, "padding_nd": padding, "dilation_nd": dilation}
    configure(layer, num_groups=groups, **{key: each_side(value, sides) for key, value in options.items()})
