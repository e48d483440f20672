"""Darknet's .cfg and .weights files, made of layers and of PyTorch modules."""

import struct

import netdefs
from examples.seeded import seed_weights
from netdefs.core.yolo.darknet_layers import Conv, Detect, Pool, Reorg, Route, Shortcut, Upsample
from tests.reference.yolov2 import Darknet, Yolo

NETWORKS = {
    "yolov2": netdefs.yolov2.LAYERS,
    "yolov3": netdefs.yolov3.YOLOV3,
    "yolov3-spp": netdefs.yolov3.SPP,
    "yolov3-tiny": netdefs.yolov3.TINY,
    "yolov4-darknet": netdefs.yolov4.VARIANTS["yolov4-darknet"]["layers"],
    "yolov4-tiny": netdefs.yolov4.TINY,
    "yolov4-csp": netdefs.yolov4.CSP,
}
SMALL = """\
[net]
width = 64    # what is trained with does not matter here
height=64
channels=3

[convolutional]
batch_normalize=1
filters=4
size=3
stride=2
pad=1
activation=leaky

[convolutional]
batch_normalize=1
filters=6
size=1
activation=leaky

[route]
layers=-1, -2

# the head
[convolutional]
filters=14
size=1
stride=1
pad=1
activation=linear

[yolo]
mask = 1,2
anchors = 5,6, 10,14,  23,27
classes=2
"""
ANCHORS = [(10, 14), (23, 27)]


def small(num_classes=2, activation="leaky"):
    """The network of SMALL in PyTorch."""
    return seed_weights(Darknet(f"[{activation}] 4/ 6' @-1,-2 head yolo", [Yolo(ANCHORS, 2)], num_classes))


HEADER = struct.pack("<iiiq", 0, 2, 5, 32_000_000)  # version, pictures seen


def write(path, module, header=HEADER):
    """A darknet file of a module: batch norm or bias first, then the convolution."""
    state = {key: value.numpy() for key, value in module.state_dict().items()}
    parts = [header]
    for key in state:
        conv, _, last = key.rpartition(".")
        if ".conv" in conv and last == "weight":
            bn = conv.replace("conv", "bn")
            first = [f"{bn}.{name}" for name in ("bias", "weight", "running_mean", "running_var")]
            for name in first if f"{bn}.bias" in state else [f"{conv}.bias"]:
                parts.append(state[name].tobytes())
            parts.append(state[key].tobytes())
    path.write_bytes(b"".join(parts))
    return path


def text_of(layers):
    """A cfg file with these layers."""
    lines = ["[net]", "width=416"]
    for layer in layers:
        if isinstance(layer, Conv):
            lines += ["[convolutional]", f"filters={layer.filters}", f"size={layer.size}", f"stride={layer.stride}"]
            lines += ["pad=1", f"activation={layer.activation}"] + ["batch_normalize=1"] * layer.batch_norm
        elif isinstance(layer, Pool):
            lines += ["[maxpool]", f"size={layer.size}", f"stride={layer.stride}"]
        elif isinstance(layer, Route):
            lines += ["[route]", "layers = " + ", ".join(map(str, layer.layers))]
            lines += [f"groups={layer.groups}", f"group_id={layer.group}"] if layer.groups > 1 else []
        elif isinstance(layer, Shortcut):
            lines += ["[shortcut]", f"from={layer.layer}", "activation=linear"]
        elif isinstance(layer, Upsample | Reorg):
            lines += [f"[{type(layer).__name__.lower()}]", f"stride={layer.stride}"]
        elif isinstance(layer, Detect) and layer.softmax:
            cells = [f"{side / layer.stride!r}" for anchor in layer.anchors for side in anchor]
            lines += ["[region]", "anchors=" + ", ".join(cells), "coords=4", "softmax=1"]
        else:
            sides = [f"{side}" for anchor in layer.anchors for side in anchor]
            lines += ["[yolo]", "mask=" + ",".join(map(str, range(len(layer.anchors)))), f"anchors={', '.join(sides)}"]
            lines += [f"scale_x_y={layer.scale_xy}", f"new_coords={int(layer.new_coords)}"]
    return "\n".join(lines)
