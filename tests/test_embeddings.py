"""ArcFace and re-identification: what upstream's values in tests/data don't cover, and pictures in, distances out."""

import functools

import cv2
import numpy as np
import pytest
import torch
from skimage import data

import netdefs
from examples.seeded import seed_weights
from netdefs.core.errors import NetworkError
from netdefs.vision import cosine_distances, predict
from tests.reference import MODELS, constant, shapes_of

VARIANTS = {"iresnet18": "arcface", "osnet_x1_0": "reid"}  # of each module one that tests/data has no values of
UNUSED = ("dropout", "classifier")
SHAPES = {"iresnet18": (2, 3, 112, 112), "osnet_x1_0": (2, 3, 96, 72), "deepsort_reid": (2, 3, 128, 64)}


@functools.cache
def seeded(name):
    return seed_weights(MODELS[name](), input_shape=(4, *SHAPES[name][1:]))


def pictures(name, batch):
    return np.random.default_rng(0).standard_normal((batch, *SHAPES[name][1:]), dtype=np.float32)


def assert_near(engine, name, x, tolerance):
    with torch.no_grad():
        expected = seeded(name)(torch.from_numpy(x))["embedding"].numpy()
    got = engine.run({"input": x})["embedding"]
    assert got.shape == expected.shape
    assert np.linalg.norm(got - expected) < tolerance * np.linalg.norm(expected)


@pytest.mark.parametrize(("name", "module"), VARIANTS.items())
def test_any_batch(name, module):
    build = functools.partial(getattr(netdefs, module).build_engine, seeded(name).state_dict(), name)
    shape = ((1, 2, 4), *SHAPES[name][1:])
    with build(input_shape=shape, target="cpu") as engine:
        assert_near(engine, name, pictures(name, 3), 2e-5)
    with build(input_shape=shape, target="cpu", fold_bn=True, precision="fp16") as engine:
        assert_near(engine, name, pictures(name, 1), 0.02)


@pytest.mark.parametrize(("name", "module"), VARIANTS.items())
def test_every_module_has_a_layer(name, module):
    x = pictures(name, 1)
    network = getattr(netdefs, module).define_network(seeded(name).state_dict(), name, input_shape=x.shape)
    report = netdefs.compare(network, seeded(name), torch.from_numpy(x))
    assert report.ok and report.weights.status == "identical", report.verdict
    left = {item.name: item.reason for item in report.unmatched if item.side == "module"}
    unexpected = {key: why for key, why in left.items() if key not in UNUSED and ".gate" not in key}
    assert not unexpected


@pytest.mark.parametrize("name", ["iresnet18", "osnet_x1_0", "deepsort_reid"])
def test_rtx_compiles(name):
    module = netdefs.arcface if name == "iresnet18" else netdefs.reid
    shape = ((1, 2, 4), *SHAPES[name][1:])
    weights = constant(shapes_of(name))
    with module.build_engine(weights, name, input_shape=shape, precision="fp16", target="tensorrt_rtx") as engine:
        assert engine.outputs["embedding"].shape == (-1, 512)


def test_a_norm_in_front_of_a_padded_convolution_stays_when_norms_are_folded():
    """A norm's shift does not reach the zeros around the picture: folded forward, a face's border would be wrong."""
    network = netdefs.arcface.define_network(seeded("iresnet18").state_dict(), fold_bn=True)
    kinds = {network.definition.get_layer(i).name: network.definition.get_layer(i).type.name for i in range(9)}
    assert kinds["layer1.0.bn1"] == "SCALE" and kinds["layer1.0.bn2"] == "CONVOLUTION"
    assert network.folded["layer1.0.conv1"] == "layer1.0.bn2" and "layer1.0.bn1" not in network.folded.values()


def test_embeddings_of_another_length():
    weights = constant(shapes_of("iresnet18"))
    for key in (
        "fc.weight",
        "fc.bias",
        *(f"features.{end}" for end in ("weight", "bias", "running_mean", "running_var")),
    ):
        weights[key] = weights[key][:256]
    network = netdefs.arcface.define_network(weights)
    assert network.definition.get_output(0).shape == (1, 256)


def test_arcface_takes_aligned_faces_only():
    with pytest.raises(NetworkError, match=r"faces of 112 x 112.*not 96 x 112.*align_face"):
        netdefs.arcface.define_network(constant(shapes_of("iresnet18")), input_shape=(1, 3, 96, 112))


def test_people_in_boxes_become_embeddings():
    """As upstream's tracker does it: the box in whole pixels, resized whatever its proportions; then the network."""
    image = cv2.cvtColor(data.astronaut(), cv2.COLOR_RGB2BGR)
    boxes = [(100.4, 0, 300, 512.9), (150, 20, 280.7, 250), (-20, 300, 90.2, 600)]
    module = seeded("deepsort_reid")
    build = netdefs.reid.build_engine
    with build(module.state_dict(), "deepsort_reid", input_shape=((1, 2, 8), 3, 128, 64), target="cpu") as engine:
        found = predict(engine, image, boxes=boxes)
        whole = predict(engine, image).instances[0]
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    for box, instance in zip(boxes, found.instances, strict=True):
        x1, y1, x2, y2 = (int(v) for v in np.clip(box, 0, 512))
        crop = cv2.resize(image[y1:y2, x1:x2], (64, 128))[..., ::-1] / 255.0
        x = torch.from_numpy(((crop - mean) / std).transpose(2, 0, 1)[None].astype(np.float32))
        with torch.no_grad():
            expected = module(x)["embedding"][0].numpy()
        np.testing.assert_allclose(instance.embedding, expected, atol=1e-5)
        assert instance.box.tolist() == pytest.approx(box)
        assert len(instance.to_dict()["embedding"]) == 512
    assert whole.box.tolist() == [0, 0, 512, 512]
    distances = cosine_distances([each.embedding for each in found.instances], [whole.embedding])
    assert distances.shape == (3, 1) and (distances > 0).all()
    assert found.draw(image).shape == image.shape
