"""From picture to picture: reading, preprocessing, decoding and drawing with OpenCV."""

from netdefs.vision.draw import draw
from netdefs.vision.embedding import cosine_distances
from netdefs.vision.faces import align_face
from netdefs.vision.found import Found
from netdefs.vision.image import letterbox_size, placement, preprocess, read_image
from netdefs.vision.instance import Instance, Mask
from netdefs.vision.predict import predict, predict_many

__all__ = [
    "Found",
    "Instance",
    "Mask",
    "align_face",
    "cosine_distances",
    "draw",
    "letterbox_size",
    "placement",
    "predict",
    "predict_many",
    "preprocess",
    "read_image",
]
