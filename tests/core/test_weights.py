"""`Weights`: where they come from, how they are handed out."""

import json

import numpy as np
import pytest
import safetensors.numpy
import torch

import netdefs
from netdefs.core.errors import WeightsError
from netdefs.core.weights import weights_sha256

ARRAYS = {
    "conv.weight": np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2),
    "conv.bias": np.array([1, -2], np.float32),
}


def write_sidecar(path, **changes):
    known = {
        "netdefs": "0",
        "source": "test",
        "weights_sha256": weights_sha256(ARRAYS),
        "shapes": {key: list(array.shape) for key, array in ARRAYS.items()},
        "dtypes": dict.fromkeys(ARRAYS, "float32"),
        "eps": {"bn": 1e-3},
        "activation": {},
    }
    (path.parent / f"{path.name}.json").write_text(json.dumps(known | changes))


@pytest.fixture
def wts(tmp_path):
    path = tmp_path / "small.wts"
    netdefs.save_wts(path, ARRAYS)
    return path


def test_from_a_wts(wts):
    weights = netdefs.Weights(wts)
    assert sorted(weights) == ["conv.bias", "conv.weight"] and len(weights) == 2 and "conv.bias" in weights
    assert weights.shape("conv.weight") is None, "a bare .wts knows no shapes"
    np.testing.assert_array_equal(weights.take("conv.weight", (2, 3, 2, 2)), ARRAYS["conv.weight"])
    assert weights.unused() == ["conv.bias"] and weights.eps("bn") is None


def test_a_sidecar_adds_shapes_and_eps(wts):
    write_sidecar(wts)
    weights = netdefs.Weights(wts)
    assert weights.shape("conv.weight") == (2, 3, 2, 2) and weights.eps("bn") == 1e-3
    weights.take("conv.weight", (3, 2, 2, 2))
    assert "conv.weight: the network has (3, 2, 2, 2), the file (2, 3, 2, 2)" in weights.problems()


def test_a_sidecar_of_other_weights_is_refused(wts):
    write_sidecar(wts, weights_sha256="0" * 64)
    with pytest.raises(
        WeightsError, match=r"describes other weights than those in small\.wts.*remove small\.wts\.json"
    ):
        netdefs.Weights(wts)


@pytest.mark.parametrize(
    "change",
    [
        {"shapes": None},
        {"shapes": {"conv.weight": 5}},
        {"eps": {"bn": "x"}},
        {"eps": {"bn": -1e-5}},
        {"eps": {"bn": float("nan")}},
    ],
)
def test_a_damaged_sidecar_is_refused(wts, change):
    write_sidecar(wts, **change)
    with pytest.raises(WeightsError, match="is not what gen_wts writes"):
        netdefs.Weights(wts)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}"])
def test_a_broken_sidecar_is_refused(wts, text):
    (wts.parent / "small.wts.json").write_text(text)
    with pytest.raises(WeightsError, match="is not what gen_wts writes"):
        netdefs.Weights(wts)


def test_from_what_load_wts_gives(wts):
    weights = netdefs.Weights(netdefs.load_wts(wts))
    np.testing.assert_array_equal(weights.take("conv.weight", (2, 3, 2, 2)), ARRAYS["conv.weight"])
    weights.take("conv.bias", (2,))
    assert weights.problems() == ""


def test_a_network_records_for_itself(wts):
    weights = netdefs.Weights(wts)
    for _ in range(2):
        with pytest.raises(WeightsError, match="missing, 1 of 1 keys"):
            net = netdefs.Network(weights)
            net.finish(net.conv(net.input("x", (1, 3, 4, 4)), "other", 2, kernel=2, bias=False))
    assert weights.taken == {}


def test_from_safetensors(tmp_path):
    safetensors.numpy.save_file(ARRAYS, tmp_path / "a.safetensors")
    weights = netdefs.Weights(tmp_path / "a.safetensors")
    assert weights.shape("conv.weight") == (2, 3, 2, 2)
    np.testing.assert_array_equal(weights.take("conv.bias", (2,)), ARRAYS["conv.bias"])


def test_from_a_state_dict_in_any_type():
    for dtype in (torch.float32, torch.float16, torch.bfloat16, torch.float64):
        module = torch.nn.Conv2d(3, 4, 3).to(dtype)
        taken = netdefs.Weights(module.state_dict()).take("weight", (4, 3, 3, 3))
        assert taken.dtype == np.float32
        np.testing.assert_array_equal(taken, module.weight.detach().float().numpy())


def test_a_source_may_have_other_names(wts):
    write_sidecar(wts, eps={"bn": 1e-3, "conv": 1e-4})
    plain, other = netdefs.Weights(wts), netdefs.Weights(wts)
    other.other_names("net.", lambda key: key.removeprefix("stem."))
    other.other_names("", lambda key: key.partition(".")[2])
    for key in ("weight", "bias"):
        shape = plain.shape(f"conv.{key}")
        assert f"stem.conv.{key}" in other and f"net.stem.conv.{key}" not in other
        assert other.shape(f"stem.conv.{key}") == shape
        np.testing.assert_array_equal(other.take(f"stem.conv.{key}", shape), plain.take(f"conv.{key}", shape))
    assert list(other.taken) == ["stem.conv.weight", "stem.conv.bias"] and other.unused() == []
    assert other.sha256 == netdefs.Weights({f"stem.{key}": array for key, array in ARRAYS.items()}).sha256
    other.take("stem.bn.weight", (2,))
    assert "\n  bn.weight\n" in other.problems() and "stem" not in other.problems()


def test_the_eps_of_a_module_with_another_name(tmp_path):
    arrays = {"bn.running_var": np.ones(2, np.float32)}
    netdefs.save_wts(tmp_path / "a.wts", arrays)
    write_sidecar(tmp_path / "a.wts", weights_sha256=weights_sha256(arrays), shapes={"bn.running_var": [2]})
    weights = netdefs.Weights(tmp_path / "a.wts")
    weights.other_names("", lambda key: key.partition(".")[2])
    assert weights.eps("stem.bn") == 1e-3


def test_what_is_taken_is_read_only(wts):
    with pytest.raises(ValueError, match="read-only"):
        netdefs.Weights(wts).take("conv.bias", (2,))[0] = 1


@pytest.mark.parametrize("name", ["model.pth", "model.engine"])
def test_a_checkpoint_is_refused_with_the_command_that_helps(tmp_path, name):
    with pytest.raises(WeightsError, match=rf"gen_wts\.py .*{name} -o weights/model\.wts"):
        netdefs.Weights(tmp_path / name)


@pytest.mark.parametrize("source", [torch.nn.Linear(2, 2), 5, [1.0]])
def test_other_sources_are_refused(source):
    with pytest.raises(WeightsError, match="path or a mapping"):
        netdefs.Weights(source)


def test_arrays_of_text_are_refused():
    with pytest.raises(WeightsError, match="not an array of real numbers"):
        netdefs.Weights({"a": np.array(["x"])})


def test_the_hash_is_of_the_values_not_of_the_file(wts):
    counted = {**ARRAYS, "bn.num_batches_tracked": np.array(3)}
    assert netdefs.Weights(wts).sha256 == netdefs.Weights(counted).sha256
    assert netdefs.Weights(wts).sha256 != netdefs.Weights({**ARRAYS, "conv.bias": np.array([1, 2])}).sha256
