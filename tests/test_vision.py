"""Preprocessing against a plain implementation and PIL, which the networks were trained with."""

import cv2
import numpy as np
import pytest
from PIL import Image
from skimage import data

from netdefs.core.errors import InputError
from netdefs.core.preprocess import IMAGENET, Preprocess
from netdefs.vision import preprocess, read_image


def recipe(which):
    return vars(which)


def plain(image, which, size):
    """(N, C, H, W) by PIL and loops over channels: shorter side, centre crop, mean and std."""
    height, width = size
    picture = Image.fromarray(image)
    ratio = max(height / picture.height, width / picture.width) / which.crop_pct
    picture = picture.resize((round(picture.width * ratio), round(picture.height * ratio)), Image.Resampling.BILINEAR)
    top, left = round((picture.height - height) / 2), round((picture.width - width) / 2)
    cropped = np.asarray(picture.crop((left, top, left + width, top + height)))
    channels = [(cropped[:, :, i] / 255 - which.mean[i]) / which.std[i] for i in range(3)]
    return np.stack(channels)[None]


@pytest.mark.parametrize("size", [(224, 224), (128, 224), (320, 256)])
def test_imagenet_preprocessing_is_what_pil_does(size):
    image = data.astronaut()
    got = preprocess(image[:, :, ::-1], recipe(IMAGENET), size)
    assert got.shape == (1, 3, *size) and got.dtype == np.float32 and got.flags.c_contiguous
    difference = np.abs(got - plain(image, IMAGENET, size)) * np.reshape(IMAGENET.std, (1, 3, 1, 1)) * 255
    assert difference.mean() < 3, "in gray levels: the two antialiasing filters differ a little at edges"


def test_without_resizing_it_is_exact():
    image = data.astronaut()[:256, :256]
    got = preprocess(image[:, :, ::-1], recipe(IMAGENET), (224, 224))
    np.testing.assert_allclose(got, plain(image, IMAGENET, (224, 224)), atol=1e-5)


def test_color_orders():
    blue = np.zeros((8, 8, 3), np.uint8)
    blue[:, :, 0] = 255  # OpenCV's order
    whole = {"mean": (0.0,) * 3, "std": (1.0,) * 3}
    assert preprocess(blue, recipe(Preprocess("RGB", **whole)), (8, 8))[0, :, 0, 0].tolist() == [0, 0, 1]
    assert preprocess(blue, recipe(Preprocess("BGR", **whole)), (8, 8))[0, :, 0, 0].tolist() == [1, 0, 0]
    gray = preprocess(blue, recipe(Preprocess("GRAY", (0.0,), (1.0,))), (8, 8))
    assert gray.shape == (1, 1, 8, 8) and gray[0, 0, 0, 0] == pytest.approx(0.114, abs=0.01)


def test_squeezed_pictures_keep_everything():
    image = np.zeros((10, 40, 3), np.uint8)
    image[:, :20] = 255
    got = preprocess(image, recipe(Preprocess("BGR", (0.0,) * 3, (1.0,) * 3)), (16, 16))
    assert got[0, 0, :, :7].min() == 1 and got[0, 0, :, 9:].max() == 0


@pytest.mark.parametrize("array", [np.zeros((8, 8), np.uint8), np.zeros((8, 8, 3)), np.zeros((0, 8, 3), np.uint8)])
def test_what_is_no_picture(array):
    with pytest.raises(InputError, match=r"\(height, width, 3\) of uint8"):
        preprocess(array, recipe(IMAGENET), (224, 224))


@pytest.mark.parametrize("shape", [(1, 30000), (30000, 1), (50, 30000)])
def test_long_and_narrow_pictures_do_not_fill_the_memory(shape):
    image = np.zeros((*shape, 3), np.uint8)
    with pytest.raises(InputError, match=f"A picture of {shape[0]}x{shape[1]} is too long and narrow"):
        preprocess(image, recipe(IMAGENET), (224, 224))
    squeezed = Preprocess("BGR", (0.0,) * 3, (1.0,) * 3)
    assert preprocess(image, recipe(squeezed), (32, 32)).shape == (1, 3, 32, 32)


def test_a_panorama_is_taken():
    image = np.zeros((40, 3000, 3), np.uint8)
    image[:, 1490:1510] = 255
    got = preprocess(image, recipe(Preprocess("BGR", (0.0,) * 3, (1.0,) * 3, crop_pct=1.0)), (32, 32))[0, 0]
    assert got.shape == (32, 32) and got[:, 12:20].min() == 1 and got[:, :6].max() == 0


@pytest.mark.parametrize("shape", [(5, 9), (5, 9, 3), (5, 9, 4)])
def test_reading_gives_three_channels(tmp_path, shape):
    cv2.imwrite(str(tmp_path / "a.png"), np.full(shape, 7, np.uint8))
    image = read_image(tmp_path / "a.png")
    assert image.shape == (5, 9, 3) and image.dtype == np.uint8 and (image == 7).all()


def test_a_picture_turned_by_exif_is_read_upright(tmp_path):
    picture = Image.new("RGB", (20, 10), (255, 0, 0))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    picture.save(tmp_path / "a.jpg", exif=exif)
    assert read_image(tmp_path / "a.jpg").shape == (20, 10, 3)
