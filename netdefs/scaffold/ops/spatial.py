"""Pictures: windows, shuffles of pixels, sampling at computed places; and what TensorRT lacks."""

from typing import Any

from netdefs.scaffold.ops.layers import own_path
from netdefs.scaffold.ops.op import Op
from netdefs.scaffold.ops.options import differing, pair
from netdefs.scaffold.ops.table import Unsupported, lowers
from netdefs.scaffold.program import Arg, Value


@lowers("aten.pixel_shuffle.default")
def _pixel_shuffle(op: Op) -> Value:
    return op.layer("pixel_shuffle", op["self"], upscale_factor=op["upscale_factor"])


@lowers("aten.pixel_unshuffle.default")
def _pixel_unshuffle(op: Op) -> Value:
    return op.layer("pixel_unshuffle", op["self"], downscale_factor=op["downscale_factor"])


@lowers("aten.channel_shuffle.default", "aten.native_channel_shuffle.default")
def _channel_shuffle(op: Op) -> Value:
    return op.layer("channel_shuffle", op["self"], groups=op["groups"])


def window(op: Op) -> dict[str, Arg]:
    """The options of a window that slides over a picture."""
    options = {key: pair(op[key]) for key in ("dilation", "padding", "stride")}
    return {"kernel": pair(op["kernel_size"]), **differing({"dilation": 1, "padding": 0, "stride": 1}, **options)}


@lowers("aten.im2col.default")
def _unfold(op: Op) -> Value:
    return op.layer("unfold", op["self"], **window(op))


@lowers("aten.col2im.default")
def _fold(op: Op) -> Value:
    return op.layer("fold", op["self"], output_size=pair(op.sizes(op["output_size"])), **window(op))


@lowers("aten.unfold.default")
def _tensor_unfold(op: Op) -> Value:
    return op.layer("tensor_unfold", op["self"], dim=op["dimension"], size=op["size"], step=op["step"])


@lowers("aten.grid_sampler.default", "aten.grid_sampler_2d.default")
def _grid_sample(op: Op) -> Value:
    x, grid = op["input"], op.tensor(op["grid"])
    modes = ("bilinear", "nearest", "bicubic")[op["interpolation_mode"]]
    paddings = ("zeros", "border", "reflection")[op["padding_mode"]]
    if len(x.shape) != 4:
        raise Unsupported("grid_sample of volumes is not in the library.")
    usual = {"mode": "bilinear", "padding_mode": "zeros", "align_corners": False}
    options = differing(usual, mode=modes, padding_mode=paddings, align_corners=op["align_corners"])
    return op.layer("grid_sample", x, grid, **options)


@lowers("torchvision.deform_conv2d.default")
def _deform_conv(op: Op) -> Value:
    weight, bias = op["weight"], op["bias"]
    bias = None if _is_zero(bias) else bias
    path = own_path(op, weight, bias)
    if path is None:
        raise Unsupported("a deformable convolution whose weights are not a module's own.")
    options = differing(
        {"stride": 1, "padding": 0, "dilation": 1, "groups": 1, "deform_groups": 1},
        stride=pair((op["stride_h"], op["stride_w"])),
        padding=pair((op["pad_h"], op["pad_w"])),
        dilation=pair((op["dilation_h"], op["dilation_w"])),
        groups=op["groups"],
        deform_groups=op["offset_groups"],
    )
    if bias is None:
        options["bias"] = False
    if op["use_mask"]:
        options["mask"] = op["mask"]
    sizes = {"out_channels": weight.shape[0], "kernel": pair(weight.shape[2:])}
    return op.layer("deform_conv", op["input"], op["offset"], path=path, **sizes, **options)


def _is_zero(bias: Value | None) -> bool:
    """Whether a bias is what torchvision gives where there is none."""
    return bias is None or (bias.fixed is not None and not bias.fixed.any())


@lowers(*(f"aten.fft_{kind}.default" for kind in ("fft", "ifft", "rfft", "irfft", "fft2", "ifft2", "rfft2", "irfft2")))
@lowers("aten.fft_fftn.default", "aten.fft_ifftn.default", "aten.fft_rfftn.default", "aten.fft_irfftn.default")
@lowers("aten.fft_fftshift.default", "aten.fft_ifftshift.default", "aten._fft_c2c.default", "aten._fft_r2c.default")
@lowers("aten._fft_c2r.default", "aten.view_as_complex.default", "aten.view_as_real.default", "aten.complex.default")
def _fourier(op: Op) -> Any:
    raise Unsupported("TensorRT has neither Fourier transforms nor complex numbers.")


@lowers("torchvision.nms.default", "torchvision.roi_align.default", "torchvision.roi_pool.default")
def _detection(op: Op) -> Any:
    raise Unsupported("how many boxes there are depends on the picture: do this outside of the network.")


@lowers("aten.rand.default", "aten.randn.default", "aten.bernoulli.default", "aten.rand_like.default")
@lowers("aten.randn_like.default", "aten.randint.default", "aten.multinomial.default", "aten.randperm.default")
def _random(op: Op) -> Any:
    raise Unsupported("it draws random numbers.")
