"""Networks whose outputs are maps or pictures, against their PyTorch references."""

import functools

import numpy as np
import pytest
import torch

import netdefs
from examples.seeded import seed_weights
from netdefs.commands.pictures import in_full, in_short, summary
from netdefs.core.errors import InputError, NetworkError
from netdefs.vision import predict
from tests.reference import MODELS, constant, shapes_of

VARIANTS = {  # of each: its module, a small size that is not square, its output
    "unet": ("unet", (48, 75), "logits"),
    "unet_bilinear": ("unet", (53, 64), "logits"),
    "realesrgan_x4plus": ("realesrgan", (12, 15), "picture"),
    "realesrgan_x4plus_anime_6b": ("realesrgan", (12, 15), "picture"),
}


@functools.cache
def seeded(name):
    return seed_weights(MODELS[name](), input_shape=(2, 3, *VARIANTS[name][1]))


def build(name, **options):
    module = VARIANTS[name][0]
    return getattr(netdefs, module).build_engine(options.pop("weights"), name, **options)


def assert_near(engine, name, batch, tolerance):
    _, size, output = VARIANTS[name]
    x = np.random.default_rng(0).standard_normal((batch, 3, *size), dtype=np.float32)
    with torch.no_grad():
        expected = seeded(name)(torch.from_numpy(x)).numpy()
    got = engine.run({"input": x})[output]
    assert got.shape == expected.shape
    assert np.linalg.norm(got - expected) < tolerance * np.linalg.norm(expected)


@pytest.mark.parametrize("name", VARIANTS)
def test_any_batch_and_not_square(name):
    options = {"input_shape": ((1, 2, 4), 3, *VARIANTS[name][1]), "target": "cpu", "weights": seeded(name).state_dict()}
    with build(name, **options) as engine:
        assert_near(engine, name, 2, 2e-5)
    if name == "realesrgan_x4plus":  # half precision is emulated: its small sister shows the same
        return
    with build(name, fold_bn=True, precision="fp16", **options) as engine:
        assert_near(engine, name, 1, 0.03)


@pytest.mark.parametrize("name", VARIANTS)
def test_every_module_has_a_layer(name):
    """But for what is called more than once."""
    module, size, _ = VARIANTS[name]
    x = torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(0))
    network = getattr(netdefs, module).define_network(seeded(name).state_dict(), name, input_shape=x.shape)
    report = netdefs.compare(network, seeded(name), x)
    assert report.ok and report.weights.status == "identical", report.verdict
    left = {item.name: item.reason for item in report.unmatched if item.side == "module"}
    assert not {key: why for key, why in left.items() if "more than once" not in why}


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("name", VARIANTS)
def test_rtx_compiles(name, precision):
    options = {"input_shape": ((1, 2, 4), 3, *VARIANTS[name][1]), "target": "tensorrt_rtx", "precision": precision}
    with build(name, weights=constant(shapes_of(name)), **options) as engine:
        assert engine.outputs[VARIANTS[name][2]].shape[0] == -1


def test_unet_with_one_class_and_biases():
    """As upstream's first releases: a mask is where the logit is positive."""
    module = seed_weights(MODELS["unet_bilinear"](num_classes=1, bias=True), input_shape=(2, 3, 64, 64))
    picture = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    options = {"input_shape": (1, 3, 64, 96), "target": "cpu"}
    with netdefs.unet.build_engine(module.state_dict(), "unet_bilinear", **options) as engine:
        found = predict(engine, picture)
    x = torch.from_numpy(picture[..., ::-1].copy()).permute(2, 0, 1)[None] / 255
    with torch.no_grad():
        expected = module(x)[0, 0].numpy()
    assert 0.02 < (expected > 0).mean() < 0.98
    sure = np.abs(expected) > 1e-4 * np.abs(expected).max()
    assert np.array_equal(found.labels[sure], (expected > 0)[sure])


def test_unet_says_that_its_size_is_fixed():
    with pytest.raises(NetworkError, match="dynamic"):
        netdefs.unet.define_network(constant(shapes_of("unet")), "unet", input_shape=(1, 3, (32, 64, 96), 64))


def test_realesrgan_of_any_size_makes_a_picture():
    """Upstream rounds what is clipped to 0..1; the network is small and says so of pictures that are not its input."""
    module = seeded("realesrgan_x4plus_anime_6b")
    with torch.no_grad():  # seeded weights give -3..3: into the range of a picture
        module.conv_last.weight.mul_(0.1)
        module.conv_last.bias.fill_(0.5)
    picture = np.random.default_rng(0).integers(0, 256, (18, 14, 3), np.uint8)
    weights = module.state_dict()
    seeded.cache_clear()
    options = {"input_shape": (1, 3, (8, 18, 32), (8, 14, 32)), "target": "cpu"}
    with netdefs.realesrgan.build_engine(weights, "realesrgan_x4plus_anime_6b", **options) as engine:
        found = predict(engine, picture)
        with pytest.raises(InputError, match=r"18x14, not 20x14: give input_shape=\(1, 3, 20, 14\)"):
            predict(engine, np.zeros((20, 14, 3), np.uint8))
    x = torch.from_numpy(picture[..., ::-1].copy()).permute(2, 0, 1)[None] / 255
    with torch.no_grad():
        expected = module(x)[0].clamp(0, 1).mul(255).permute(1, 2, 0).numpy()[..., ::-1]
    assert found.picture.shape == (72, 56, 3) and found.draw(picture) is not found.picture
    assert np.array_equal(found.draw(picture), found.picture)
    assert np.abs(found.picture - expected).max() < 0.51 and expected.std() > 10
    row = summary(found, top=5)
    assert row == {"size": {"height": 72, "width": 56}} and in_short(row) == "a picture of 72x56"
    assert in_full(row, title=None).row_count == 1
