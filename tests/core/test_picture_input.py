"""Preprocessing inside of the network against the one on the host."""

import numpy as np
import pytest
from skimage import data

import netdefs
from netdefs.core.errors import NetworkError
from netdefs.core.preprocess import IMAGENET, Decode, Preprocess
from netdefs.core.zoo import Model
from netdefs.vision import preprocess

RECIPES = {
    "imagenet": IMAGENET,
    "bgr": Preprocess("BGR", mean=(0.1, 0.5, 0.3), std=(1, 0.2, 1 / 255)),
    "gray": Preprocess("GRAY", mean=(0.1307,), std=(0.3081,)),
}


def define(net, x, variant="itself"):
    return net.output(net.relu(x, "relu"), "positive")


def model(recipe):
    decode = Decode("classes")
    return Model("test", define, {"itself": {}}, input_shape=(1, 3, 8, 8), preprocess=recipe, decode=decode)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("name", RECIPES)
def test_the_same_as_on_the_host(name, precision):
    recipe, image = RECIPES[name], data.astronaut()[100:196, 150:278, ::-1]
    shape = ((1, 2, 4), len(recipe.mean), 96, 128)
    results = []
    for place in ("host", "in_network"):
        with model(recipe).build_engine(
            {}, input_shape=shape, preprocess=place, precision=precision, target="cpu"
        ) as engine:
            one = preprocess(image, engine.info["preprocess"], (96, 128))
            results.append(engine.run({"input": np.concatenate([one, one])})["positive"])
    assert one.dtype == np.uint8 and one.shape == (1, 96, 128, 3) and results[0].max() > 1
    tolerance = 2e-6 if precision == "fp32" else 1e-3
    np.testing.assert_allclose(results[1], results[0], rtol=tolerance, atol=tolerance)


def test_compiles_for_gpus():
    engine = model(IMAGENET).build_engine({}, preprocess="in_network", target="tensorrt_rtx")
    assert engine.inputs["input"] == ((1, 8, 8, 3), np.uint8)


def test_other_places():
    with pytest.raises(NetworkError, match="preprocess='gpu': it is one of host, in_network"):
        netdefs.resnet.define_network({}, preprocess="gpu")
