"""The catalogue: mistakes that people make when they rebuild a network, each as another way to make one call."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from netdefs.core.scope import pair
from tests.faults.planting import Call, Plant, Step

ACTIVATIONS = ("relu", "leaky_relu", "silu", "mish", "hardswish", "gelu")


@dataclasses.dataclass(frozen=True)
class Fault:
    """A kind of mistake.

    Attributes:
        name: what it is called in the tables.
        cause: what `report.cause.kind` must be.
        methods: the primitives that it is made in.
        plant: makes the call wrongly.
        fits: whether it can be made in a call.
        behind: the call's own layer stays right, or is not there: the first that reads it is wrong.
        precision: of the network that it shows in.
    """

    name: str
    cause: str
    methods: tuple[str, ...]
    plant: Callable[[Step, Plant], Any]
    fits: Callable[[Call], bool]
    behind: bool = False
    precision: str = "fp32"


CATALOGUE: dict[str, Fault] = {}


def fault(
    cause: str, *methods: str, fits: Callable[[Call], bool] = lambda call: True, **options: Any
) -> Callable[[Callable[[Step, Plant], Any]], Callable[[Step, Plant], Any]]:
    """Puts a function into the catalogue, under its name."""

    def add(plant: Callable[[Step, Plant], Any]) -> Callable[[Step, Plant], Any]:
        CATALOGUE[plant.__name__] = Fault(plant.__name__, cause, methods, plant, fits, **options)
        return plant

    return add


# Batch norms


@fault("bn_eps", "batch_norm")
def another_eps(step: Step, plant: Plant) -> Any:
    eps = plant.rng.choice([e for e in (1e-2, 1e-3, 1e-4, 1e-5) if e != step.arguments["eps"]])
    plant.detail = f"{eps:g}"
    return step.run(eps=eps)


@fault("bn_missing", "batch_norm")
def norm_not_applied(step: Step, plant: Plant) -> Any:
    step.forget_weights()
    return step.identity()


@fault("bn_missing", "batch_norm", behind=True)
def norm_left_out(step: Step, plant: Plant) -> Any:
    step.forget_weights()
    return step.x


@fault("bn_twice", "batch_norm")
def norm_applied_twice(step: Step, plant: Plant) -> Any:
    x = step.x
    scale, shift = step.net.batch_norm_terms(step.arguments["name"], int(x.shape[1]), step.arguments["eps"])
    trt, net = step.net.trt, step.net
    arrays = [net.convert(terms, x.dtype, "terms") for terms in (shift, scale)]
    layer = net.definition.add_scale_nd(x, trt.ScaleMode.CHANNEL, *arrays, trt.Weights(x.dtype), 1)
    return step.run(x=step.named(layer, "first", x))


@fault("bn_mean", "batch_norm")
def norm_without_its_mean(step: Step, plant: Plant) -> Any:
    with step.weights(lambda key, array, weights: 0 * array if key == "running_mean" else array):
        return step.run()


# Weights


def _same_shape(step: Step, plant: Plant, key: str) -> str:
    """Another key with a weight of the same shape; the key itself if there is none."""
    weights = step.net.weights
    shape, last = np.shape(weights[key]), key.rpartition(".")[2]
    others = [k for k in weights if k.rpartition(".")[2] == last and np.shape(weights[k]) == shape and k != key]
    return plant.rng.choice(others) if others else key


@fault("weight_key", "conv", "deconv", "linear", "batch_norm")
def weights_of_another_key(step: Step, plant: Plant) -> Any:
    key = plant.rng.choice(["running_mean", "running_var"]) if step.method == "batch_norm" else "weight"
    other = _same_shape(step, plant, f"{step.path}.{key}")
    plant.detail = other
    with step.weights(lambda k, array, weights: weights[other] if k == key else array):
        return step.run()


def _kernel(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Step, Plant], Any]:
    def plant_it(step: Step, plant: Plant) -> Any:
        with step.weights(lambda key, array, weights: change(array) if key == "weight" else array):
            return step.run()

    return plant_it


def _has_window(call: Call) -> bool:
    return min(pair(call.kernel)) > 1


def _is_square(call: Call) -> bool:
    return pair(call.kernel)[0] == pair(call.kernel)[1] > 1


@fault("kernel_flipped", "conv", "deconv", fits=_has_window)
def kernel_flipped(step: Step, plant: Plant) -> Any:
    return _kernel(lambda array: array[..., ::-1, ::-1])(step, plant)


@fault("kernel_transposed", "conv", "deconv", fits=_is_square)
def kernel_transposed(step: Step, plant: Plant) -> Any:
    return _kernel(lambda array: array.swapaxes(-1, -2))(step, plant)


@fault("weight_layout", "conv", "deconv")
def weights_in_another_layout(step: Step, plant: Plant) -> Any:
    order = plant.rng.choice([(1, 0, 2, 3), (2, 3, 1, 0), (0, 2, 3, 1)])  # IOHW, HWIO, OHWI
    return _kernel(lambda array: np.ascontiguousarray(array.transpose(order)).reshape(array.shape))(step, plant)


@fault("weight_layout", "linear")
def matrix_transposed(step: Step, plant: Plant) -> Any:
    return _kernel(lambda array: np.ascontiguousarray(array.T).reshape(array.shape))(step, plant)


@fault("bias_missing", "conv", "deconv", "linear", fits=lambda call: call.bias)
def bias_left_out(step: Step, plant: Plant) -> Any:
    step.net.weights.ignore(f"{step.path}.bias")
    return step.run(bias=False)


@fault("bias_doubled", "conv", "deconv", "linear", fits=lambda call: call.bias)
def bias_added_twice(step: Step, plant: Plant) -> Any:
    with step.weights(lambda key, array, weights: 2 * array if key == "bias" else array):
        return step.run()


# Windows


@fault("stride", "conv", fits=lambda call: pair(call.kernel) != (1, 1) or pair(call.stride) != (1, 1))
def another_stride(step: Step, plant: Plant) -> Any:
    return step.run(stride=2 if pair(step.arguments["stride"]) == (1, 1) else 1)


@fault("stride", "conv", fits=lambda call: pair(call.stride) == (1, 1))
def stride_on_the_wrong_convolution(step: Step, plant: Plant) -> Any:
    def takes(later: Step) -> bool:
        return later.method == "conv" and step.path.rpartition(".")[0] == later.path.rpartition(".")[0]

    def without(later: Step) -> Any:
        return later.run(stride=1)

    plant.then = (takes, without)
    return step.run(stride=2)


@fault("padding", "conv", "deconv")
def another_padding(step: Step, plant: Plant) -> Any:
    top, left = pair(step.arguments["padding"])
    more = plant.rng.choice([-1, 1]) if top and left else 1
    return step.run(padding=(top + more, left + more))


@fault("padding_side", "conv", fits=lambda call: min(pair(call.padding)) > 0)
def padding_on_one_side(step: Step, plant: Plant) -> Any:
    top, left = pair(step.arguments["padding"])
    sides = (2 * left, 0, 2 * top, 0) if plant.rng.random() < 0.5 else (0, 2 * left, 0, 2 * top)
    return step.run(x=step.net.pad(step.x, step.child("pad"), sides), padding=0)


@fault("dilation", "conv", fits=lambda call: pair(call.kernel) == (3, 3) and pair(call.padding) == (1, 1))
def another_dilation(step: Step, plant: Plant) -> Any:
    return step.run(dilation=2, padding=2)


@fault("output_padding", "deconv")
def another_output_padding(step: Step, plant: Plant) -> Any:
    return step.run(output_padding=0 if step.arguments["output_padding"] else 1)


# Activations


@fault("activation_missing", *ACTIVATIONS)
def activation_not_applied(step: Step, plant: Plant) -> Any:
    return step.identity()


@fault("activation_missing", *ACTIVATIONS, behind=True)
def activation_left_out(step: Step, plant: Plant) -> Any:
    return step.x


@fault("activation_extra", "conv", "batch_norm", "linear", behind=True)
def activation_too_many(step: Step, plant: Plant) -> Any:
    out = step.run()
    return step.net.relu(out, step.child("extra"))


@fault("activation_kind", *ACTIVATIONS)
def another_activation(step: Step, plant: Plant) -> Any:
    other = plant.rng.choice([a for a in ("relu", "leaky_relu", "silu", "mish", "hardswish") if a != step.method])
    return getattr(step.net, other)(step.x, step.arguments["name"])


@fault("slope", "leaky_relu")
def another_slope(step: Step, plant: Plant) -> Any:
    slope = plant.rng.choice([s for s in (0.01, 0.1, 0.2) if s != step.arguments["negative_slope"]])
    plant.detail = f"{slope:g}"
    return step.run(negative_slope=slope)


@fault("activation_order", "add")
def activation_before_the_add(step: Step, plant: Plant) -> Any:
    plant.then = (lambda later: later.method == "relu", Step.identity)
    return step.run(a=step.net.relu(step.arguments["a"], step.child("before")))


# Pools and resizing


@fault("pool_kind", "max_pool", "avg_pool")
def another_kind_of_pool(step: Step, plant: Plant) -> Any:
    names = ("x", "name", "kernel", "stride", "padding", "ceil_mode")
    method = step.net.avg_pool if step.method == "max_pool" else step.net.max_pool
    return method(**{name: step.arguments[name] for name in names})


@fault("pool_kind", "global_avg_pool")
def maximum_for_mean(step: Step, plant: Plant) -> Any:
    return step.net.global_max_pool(step.x, step.arguments["name"])


@fault("pool_window", "max_pool", "avg_pool")
def another_window_of_a_pool(step: Step, plant: Plant) -> Any:
    kernel, stride = pair(step.arguments["kernel"]), step.arguments["stride"]
    if kernel == (2, 2):
        return step.run(kernel=3, stride=stride or 2, padding=1)
    return step.run(kernel=tuple(k - 1 for k in kernel), stride=stride or kernel, padding=(kernel[0] - 2) // 2)


@fault("ceil_mode", "max_pool", "avg_pool")
def another_ceil_mode(step: Step, plant: Plant) -> Any:
    return step.run(ceil_mode=not step.arguments["ceil_mode"])


@fault("count_include_pad", "avg_pool", fits=lambda call: max(pair(call.padding)) > 0)
def padding_counted_otherwise(step: Step, plant: Plant) -> Any:
    return step.run(count_include_pad=not step.arguments["count_include_pad"])


@fault("resize_mode", "upsample")
def another_mode(step: Step, plant: Plant) -> Any:
    modes = [m for m in ("nearest", "bilinear", "bicubic") if m != step.arguments["mode"]]
    return step.run(mode=plant.rng.choice(modes), align_corners=False)


@fault("align_corners", "upsample", fits=lambda call: not call.mode.startswith("nearest"))
def corners_aligned_otherwise(step: Step, plant: Plant) -> Any:
    return step.run(align_corners=not step.arguments["align_corners"])


# What goes where


@fault("concat_order", "concat", fits=lambda call: len(call.tensors) > 1)
def another_order_of_a_concat(step: Step, plant: Plant) -> Any:
    tensors = list(step.arguments["tensors"])
    i = plant.rng.randrange(len(tensors) - 1)
    tensors[i], tensors[i + 1] = tensors[i + 1], tensors[i]
    return step.run(tensors=tensors)


@fault("split_order", "split", behind=True)
def another_order_of_a_split(step: Step, plant: Plant) -> Any:
    parts = step.run()
    same = tuple(parts[0].shape) == tuple(parts[1].shape)
    return [parts[1], parts[0], *parts[2:]] if same else parts


@fault("branch", "add", fits=lambda call: hasattr(call.b, "shape"))
def another_branch_added(step: Step, plant: Plant) -> Any:
    a, b = step.arguments["a"], step.arguments["b"]
    shape = tuple(b.shape)
    near = {a.name, b.name, *step.made_of(b)}  # without its ReLU the right branch would be another mistake
    others = [t for t in plant.made if tuple(t.shape) == shape and t.name not in near]
    return step.run(b=plant.rng.choice(others[-8:])) if others else step.run()


@fault("operation", "add", fits=lambda call: hasattr(call.b, "shape"))
def multiplied_for_added(step: Step, plant: Plant) -> Any:
    return step.net.mul(*(step.arguments[key] for key in ("a", "b", "name")))


@fault("axis", "softmax")
def another_axis(step: Step, plant: Plant) -> Any:
    rank = len(step.x.shape)
    others = [axis for axis in range(rank) if axis != step.arguments["dim"] % rank]
    return step.run(dim=plant.rng.choice(others))


@fault("layout", "flatten")
def channels_last(step: Step, plant: Plant) -> Any:
    if len(step.x.shape) != 4:
        return step.run()
    return step.run(x=step.net.permute(step.x, step.child("permute"), (0, 2, 3, 1)))


@fault("pixel_order", "pixel_shuffle")
def another_pixel_order(step: Step, plant: Plant) -> Any:
    net, r = step.net, step.arguments["upscale_factor"]
    n, c, h, w = (int(size) for size in step.x.shape)
    y = net.reshape(step.x, step.child("split"), (n, r, r, c // r**2, h, w))
    y = net.permute(y, step.child("permute"), (0, 3, 4, 1, 5, 2))
    return net.reshape(y, step.arguments["name"], (n, c // r**2, h * r, w * r))


@fault("channel_shuffle", "permute", fits=lambda call: list(call.dims) == [0, 2, 1, 3, 4])
def channels_not_shuffled(step: Step, plant: Plant) -> Any:
    return step.net.reshape(step.x, step.arguments["name"], [int(step.x.shape[i]) for i in (0, 2, 1, 3, 4)])


# Values


@fault("channel_order", "conv", fits=lambda call: call.x.name == "input" and call.x.shape[1] == 3)
def colors_reversed(step: Step, plant: Plant) -> Any:
    net, x = step.net, step.x
    colors = [net.slice(x, step.child(f"color{i}"), 1, i, i + 1) for i in (2, 1, 0)]
    return step.run(x=net.concat(colors, step.child("colors"), dim=1))


@fault("normalization", "conv", fits=lambda call: call.x.name == "input")
def picture_normalized_twice(step: Step, plant: Plant) -> Any:
    net, channels = step.net, int(step.x.shape[1])
    mean = np.linspace(0.4, 0.5, channels, dtype=np.float32).reshape(1, -1, 1, 1)
    x = net.sub(step.x, net.constant(mean, step.child("mean"), like=step.x), step.child("centered"))
    return step.run(x=net.div(x, 0.225, step.child("normalized")))


@fault("scale", "conv", "add", "linear")
def multiplied_by_a_number(step: Step, plant: Plant) -> Any:
    out = step.inner()
    factor = plant.rng.choice([0.5, 1.5, 2.0])
    plant.detail = f"{factor:g}"
    return step.net.mul(out, factor, step.arguments["name"])


@fault("offset", "conv", "add", "linear")
def offset_by_a_number(step: Step, plant: Plant) -> Any:
    out = step.inner()
    offset = plant.rng.choice([-0.5, 0.1, 1.0])
    plant.detail = f"{offset:g}"
    return step.net.add(out, offset, step.arguments["name"])


@fault("precision", "conv", "linear")
def half_precision(step: Step, plant: Plant) -> Any:
    trt, net = step.net.trt, step.net
    half = net.cast(step.x, step.child("half"), trt.float16)
    return step.run(x=net.cast(half, step.child("single"), step.x.dtype))


@fault("overflow", "batch_norm", precision="fp16")
def more_than_half_precision_holds(step: Step, plant: Plant) -> Any:
    large = step.net.mul(step.inner(), 60000.0, step.child("large"))
    return step.net.div(large, 60000.0, step.arguments["name"])
