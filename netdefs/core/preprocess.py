"""What a network wants done to a picture, and what its outputs mean: data that `netdefs.vision` carries out."""

import dataclasses

FITS = ("crop", "squeeze", "letterbox", "corner", "box", "stretch")
BOXED = ("box", "stretch")  # those that look into a box


@dataclasses.dataclass(frozen=True)
class Preprocess:
    """From a picture to a network's input: fit to the network's size, scale to 0..1, normalize.

    A definition whose weights decide about the fit puts "fit" and "pad" into `net.info["preprocess"]` itself.

    Attributes:
        color: "RGB", "BGR" or "GRAY": the order of the network's channels.
        mean: what is subtracted from the values in 0..1, one per channel.
        std: what they are then divided by, one per channel.
        fit: how the picture gets the input's size. "crop": resized to cover it, and the middle cut out; "squeeze": both
            sides resized, whatever becomes of the proportions; "letterbox": proportions kept, in the middle; "corner":
            proportions kept, at the top left; "box": the part around a box is cut out, as for the pose of one person;
            "stretch": exactly the box is cut out and resized, whatever becomes of its proportions.
        crop_pct: for "crop", the part of the shorter side that is kept.
        margin: for "box", by how much the box is enlarged.
        pad: for "letterbox", "corner" and "box", the value in 0..255 of pixels outside of the picture.
    """

    color: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    fit: str = "squeeze"
    crop_pct: float = 1.0
    margin: float = 1.0
    pad: int = 0


@dataclasses.dataclass(frozen=True)
class Decode:
    """From a network's outputs to what is in the picture.

    What only a definition knows, as it depends on its arguments or weights, it adds to `net.info["decode"]` itself.

    Attributes:
        method: one of those in netdefs/vision/found.py and boxes.py, such as "classes", "mask", "heatmap" or "boxes".
        names: the table in `netdefs.vision.names` of what is found: classes, or the keypoints of a skeleton; "" if the
            model itself has none.
    """

    method: str
    names: str = ""


# What networks trained on ImageNet in PyTorch's way expect: the 224 x 224 in the middle of a shorter side of 256.
IMAGENET = Preprocess("RGB", mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), fit="crop", crop_pct=224 / 256)
