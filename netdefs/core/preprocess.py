"""What a network wants done to a picture: data that a model declares and `netdefs.vision` carries out."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Preprocess:
    """From a picture to a network's input: resize, crop to the network's size, scale to 0..1, normalize.

    Attributes:
        color: "RGB", "BGR" or "GRAY": the order of the network's channels.
        mean: what is subtracted from the values in 0..1, one per channel.
        std: what they are then divided by, one per channel.
        crop_pct: the part of the shorter side that the centre crop keeps; None squeezes the whole picture in.
    """

    color: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    crop_pct: float | None = None


# What networks trained on ImageNet in PyTorch's way expect: the 224 x 224 in the middle of a shorter side of 256.
IMAGENET = Preprocess("RGB", mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), crop_pct=224 / 256)
