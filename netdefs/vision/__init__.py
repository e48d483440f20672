"""From picture to picture: reading, preprocessing, decoding and drawing with OpenCV."""

from netdefs.vision.draw import draw
from netdefs.vision.embedding import cosine_distances
from netdefs.vision.faces import align_face
from netdefs.vision.found import Found
from netdefs.vision.image import letterbox_size, placement, preprocess, read_image, short_side_size
from netdefs.vision.instance import Instance, Mask
from netdefs.vision.interest import Points, match_points
from netdefs.vision.predict import predict, predict_many
from netdefs.vision.textboxes import straighten

__all__ = [
    "Found",
    "Instance",
    "Mask",
    "Points",
    "align_face",
    "cosine_distances",
    "draw",
    "letterbox_size",
    "match_points",
    "placement",
    "predict",
    "predict_many",
    "preprocess",
    "read_image",
    "short_side_size",
    "straighten",
]
