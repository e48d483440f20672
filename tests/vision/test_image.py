"""Preprocessing against a plain implementation and PIL, which the networks were trained with; and where pixels go."""

import cv2
import numpy as np
import pytest
from PIL import Image
from skimage import data

from netdefs.core.errors import InputError
from netdefs.core.preprocess import FITS, IMAGENET, Preprocess
from netdefs.vision import letterbox_size, placement, preprocess, read_image
from netdefs.vision.geometry import apply, to_picture

PLAIN = {"mean": (0.0,) * 3, "std": (1.0,) * 3}


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
    assert preprocess(blue, recipe(Preprocess("RGB", **PLAIN)), (8, 8))[0, :, 0, 0].tolist() == [0, 0, 1]
    assert preprocess(blue, recipe(Preprocess("BGR", **PLAIN)), (8, 8))[0, :, 0, 0].tolist() == [1, 0, 0]
    gray = preprocess(blue, recipe(Preprocess("GRAY", (0.0,), (1.0,))), (8, 8))
    assert gray.shape == (1, 1, 8, 8) and gray[0, 0, 0, 0] == pytest.approx(0.114, abs=0.01)


def test_squeezed_pictures_keep_everything():
    image = np.zeros((10, 40, 3), np.uint8)
    image[:, :20] = 255
    got = preprocess(image, recipe(Preprocess("BGR", **PLAIN)), (16, 16))
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
    squeezed = Preprocess("BGR", **PLAIN)
    assert preprocess(image, recipe(squeezed), (32, 32)).shape == (1, 3, 32, 32)


def test_a_panorama_is_taken():
    image = np.zeros((40, 3000, 3), np.uint8)
    image[:, 1490:1510] = 255
    got = preprocess(image, recipe(Preprocess("BGR", **PLAIN, fit="crop")), (32, 32))[0, 0]
    assert got.shape == (32, 32) and got[:, 12:20].min() == 1 and got[:, :6].max() == 0


@pytest.mark.parametrize("shape", [(5, 9), (5, 9, 3), (5, 9, 4)])
def test_reading_gives_three_channels(tmp_path, shape):
    cv2.imwrite(str(tmp_path / "a.png"), np.full(shape, 7, np.uint8))
    image = read_image(tmp_path / "a.png")
    assert image.shape == (5, 9, 3) and image.dtype == np.uint8 and (image == 7).all()


def test_a_picture_with_more_pixels_than_opencv_takes(tmp_path):
    (tmp_path / "a.ppm").write_bytes(b"P6 40000 40000 255\n" + bytes(100))
    with pytest.raises(InputError, match=r"OpenCV can't read the picture .*a.ppm: .*PIXELS"):
        read_image(tmp_path / "a.ppm")


def test_a_picture_turned_by_exif_is_read_upright(tmp_path):
    picture = Image.new("RGB", (20, 10), (255, 0, 0))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    picture.save(tmp_path / "a.jpg", exif=exif)
    assert read_image(tmp_path / "a.jpg").shape == (20, 10, 3)


def spot(shape, x, y):
    """A picture that is black but for a round, soft spot in its green at (x, y)."""
    ys, xs = np.mgrid[: shape[0], : shape[1]]
    image = np.zeros((*shape, 3), np.uint8)
    image[:, :, 1] = np.round(255 * np.exp(-((xs - x) ** 2 + (ys - y) ** 2) / 32))
    return image


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize(("shape", "size"), [((90, 160), (64, 64)), ((151, 83), (224, 160)), ((60, 210), (100, 90))])
def test_placement_is_where_the_pixels_are(fit, shape, size):
    which = recipe(Preprocess("BGR", **PLAIN, fit=fit, crop_pct=0.9, margin=1.25))
    middle = shape[1] / 2, shape[0] / 2
    box = (middle[0] - 30, middle[1] - 20, middle[0] + 28, middle[1] + 24) if fit == "box" else None
    matrix = placement(shape, which, size, box)
    for x, y in [middle, (middle[0] - 11, middle[1] + 9), (middle[0] + 7.5, middle[1] - 6.25)]:
        got = preprocess(spot(shape, x, y), which, size, box)[0, 1]
        weights = got / got.sum()
        found = (weights.sum(0) @ np.arange(size[1]), weights.sum(1) @ np.arange(size[0]))
        expected = apply(matrix, (x, y))
        np.testing.assert_allclose(found, expected, atol=0.15)
        np.testing.assert_allclose(to_picture(expected, matrix), (x, y), atol=1e-9)


def test_letterbox_is_ultralytics():
    image = np.full((333, 501, 3), 200, np.uint8)
    which = recipe(Preprocess("BGR", **PLAIN, fit="letterbox", pad=114))
    got = preprocess(image, which, (640, 640))[0, 0] * 255
    # 333 * 640 / 501 = 425.4 rows; of the other 215, the smaller half is above.
    assert np.unique(got[:107]) == pytest.approx(114) and np.unique(got[-108:]) == pytest.approx(114)
    assert np.unique(got[107 : 640 - 108]) == pytest.approx(200)
    sides = preprocess(image.transpose(1, 0, 2), which, (640, 640))[0, 0] * 255
    np.testing.assert_array_equal(sides, got.T)


def test_corner_is_yolox():
    image = np.full((300, 400, 3), 200, np.uint8)
    got = preprocess(image, recipe(Preprocess("BGR", **PLAIN, fit="corner", pad=114)), (416, 418))[0, 0] * 255
    assert np.unique(got[:313]) == pytest.approx(200)  # 300 * 418 / 400 = 313.5
    assert np.unique(got[313:]) == pytest.approx(114)


@pytest.mark.parametrize("box", [(30, 20, 90, 200), (-15.5, 40, 140, 90.25), (0, 0, 192, 256)])
def test_box_is_what_pose_networks_are_trained_with(box):
    """Upstream's steps: enlarge the box about its middle; then three of its corners go to three of the input's."""
    height, width = 256, 192
    x1, y1, x2, y2 = box
    middle, w, h = ((x1 + x2) / 2, (y1 + y2) / 2), x2 - x1, y2 - y1
    if w > h * width / height:
        h = w * height / width
    else:
        w = h * width / height
    w, h = w * 1.25, h * 1.25
    corners = [(middle[0] + i * w / 2, middle[1] + j * h / 2) for i, j in ((-1, -1), (1, -1), (-1, 1))]
    matrix = cv2.getAffineTransform(np.float32(corners), np.float32([(0, 0), (width, 0), (0, height)]))
    which = Preprocess("RGB", **PLAIN, fit="box", margin=1.25, pad=9)
    np.testing.assert_allclose(placement((250, 150), recipe(which), (height, width), box), matrix, atol=1e-4)
    image = np.ascontiguousarray(data.astronaut()[:250, :150, ::-1])
    border = cv2.warpAffine(image, matrix, (width, height), borderValue=(9, 9, 9))
    got = preprocess(image, recipe(which), (height, width), box)[0].transpose(1, 2, 0)[:, :, ::-1] * 255
    assert np.abs(got - border).max() < 2


def test_the_whole_picture_is_the_box_if_none_is_given():
    which = recipe(Preprocess("RGB", **PLAIN, fit="box"))
    np.testing.assert_allclose(placement((100, 300), which, (64, 64)), [[64 / 300, 0, 0], [0, 64 / 300, 32 - 32 / 3]])


def test_a_box_of_a_very_wide_picture():
    image = np.zeros((20, 40000, 3), np.uint8)
    image[:, 39900:] = 255
    got = preprocess(image, recipe(Preprocess("BGR", **PLAIN, fit="box")), (20, 20), (39890, 0, 39910, 20))[0, 0]
    assert got[:, :9].max() == 0 and got[:, 11:].min() == 1


@pytest.mark.parametrize("box", [(-50, 0, 0.5, 40), (59.5, 39.5, 90, 80), (-5, -900, 70, 0.5)])
def test_a_box_that_hardly_touches_the_picture(box):
    image = np.full((40, 60, 3), 255, np.uint8)
    got = preprocess(image, recipe(Preprocess("BGR", **PLAIN, fit="box", pad=51)), (16, 16), box)
    assert got.shape == (1, 3, 16, 16) and got.min() == pytest.approx(0.2) and (got < 0.21).mean() > 0.9


@pytest.mark.parametrize(
    ("changes", "size", "box", "message"),
    [
        ({"fit": "shrink"}, (8, 8), None, "no way 'shrink' to fit .* crop, squeeze, letterbox, corner, box"),
        ({"color": "HSV"}, (8, 8), None, "no order of channels 'HSV'; there are: RGB, BGR, GRAY"),
        ({"color": "GRAY"}, (8, 8), None, "GRAY has 1 channels, but mean is"),
        ({}, (0, 8), None, "A picture of 40x60 can't be brought to 0x8 pixels"),
        ({"fit": "box"}, (8, -1), None, "A picture of 40x60 can't be brought to 8x-1 pixels"),
        ({}, (8, 8), (1, 2, 3, 4), "A box is for networks that look into one .* is 'squeeze'"),
        ({"fit": "box"}, (8, 8), (5, 5, 5, 9), "x1 < x2 and y1 < y2, not 5, 5, 5, 9"),
        ({"fit": "box"}, (8, 8), (5, 5, float("nan"), 9), "x1 < x2 and y1 < y2, not 5, 5, nan, 9"),
        ({"fit": "box"}, (8, 8), (60, 5, 70, 9), "60, 5, 70, 9 lies outside of the picture, which is 60 wide and 40"),
        ({"fit": "box"}, (8, 8), (5, 5, 9), "A box is x1, y1, x2, y2 .* not 5, 5, 9"),
    ],
)
def test_what_can_not_be_done(changes, size, box, message):
    which = recipe(Preprocess("BGR", **PLAIN)) | changes
    with pytest.raises(InputError, match=message):
        preprocess(np.zeros((40, 60, 3), np.uint8), which, size, box)


def test_a_box_that_is_too_long():
    which = recipe(Preprocess("BGR", **PLAIN, fit="box"))
    with pytest.raises(InputError, match="at most 32766 pixels long"):
        preprocess(np.zeros((2, 40000, 3), np.uint8), which, (8, 8))


@pytest.mark.parametrize("fit", ["squeeze", "letterbox", "corner", "box"])
@pytest.mark.parametrize("shape", [(1, 1), (1, 30000), (8, 8)])
def test_any_picture_fits_without_cropping(fit, shape):
    image = np.full((*shape, 3), 255, np.uint8)
    got = preprocess(image, recipe(Preprocess("BGR", **PLAIN, fit=fit)), (32, 48))
    assert got.shape == (1, 3, 32, 48) and got.max() > 0.1


@pytest.mark.parametrize("largest", [(640, 640), (320, 640), (64, 64)])
def test_letterbox_size_is_upstreams_auto(largest):
    """Upstream pads a picture to `largest`, and takes whole strides of the padding away again."""
    which = recipe(Preprocess("BGR", **PLAIN, fit="letterbox", pad=114))
    for height, width in ((1080, 1920), (1920, 1080), (640, 640), (100, 99), (3, 4000), (720, 1281)):
        ratio = min(largest[0] / height, largest[1] / width)
        seen = max(round(height * ratio), 1), max(round(width * ratio), 1)
        padding = [(size - part) % 32 for size, part in zip(largest, seen, strict=True)]
        size = letterbox_size((height, width, 3), largest)
        assert size == (seen[0] + padding[0], seen[1] + padding[1])
        picture = np.zeros((height, width, 3), np.uint8)
        x = preprocess(picture, which, size)
        assert x.shape[2:] == size
        assert (x[0, 0] == 0).sum() == seen[0] * seen[1], "the picture is as large as in the full input"
    with pytest.raises(InputError, match="multiples of the stride, 64"):
        letterbox_size((10, 10), (640, 608), stride=64)
