"""Pictures in and out: reading and preprocessing with OpenCV."""

from netdefs.vision.image import preprocess, read_image

__all__ = ["preprocess", "read_image"]
