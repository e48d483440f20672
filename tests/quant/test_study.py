"""A whole study of the depthwise network: calibrate, measure, change weights, search; and what can be wrong with it."""

import json

import numpy as np
import pytest
import torch

import netdefs
from netdefs import NetdefsError, quant
from netdefs.quant import Calibration, Options, study
from netdefs.quant.chart import check_suffix, curve_svg, write_curve, write_page
from netdefs.quant.view import conclusion, print_study
from tests.quant import nets

X = nets.pictures(12)


@pytest.fixture(scope="module")
def state():
    return nets.module().state_dict()


@pytest.fixture(scope="module")
def define(state):
    def make(precision, calibration, weights):
        return nets.network(state if weights is None else weights, precision, calibration)

    return make


def outputs(network, x=X):
    with netdefs.build(network, target="cpu") as engine:
        return np.concatenate([engine.run({"input": each[None]})["logits"] for each in x])


def sqnr(expected, found):
    return 10 * np.log10(np.sum(expected.astype(np.float64) ** 2) / np.sum((found - expected).astype(np.float64) ** 2))


@pytest.fixture(scope="module")
def plain(define):
    return study(define, X, Options(measure_on=12))


def test_the_cost_is_that_of_the_network_as_it_runs(define, plain):
    expected = sqnr(outputs(define("fp32", None, None)), outputs(define("int8", plain.calibration, None)))
    assert plain.cost.sqnr == pytest.approx(expected, abs=0.5)  # integer kernels round a little otherwise
    assert [each.name for each in plain.cost.layers] == ["stem", "dw1_bn", "pw1_bn", "dw2", "pw2", "fc"]
    assert (plain.pictures, plain.proposal, plain.precision, plain.troubles) == (12, None, "int8", [])


def test_a_layer_alone_has_its_own_noise_only(define, plain):
    """That of a network in which no other layer is quantized, up to this layer's output."""
    for name in ("dw1_bn", "pw2"):
        only = define({name.removesuffix("_bn"): "int8"} if name == "pw2" else {"dw1": "int8"}, plain.calibration, None)
        runs = []
        for network in (define("fp32", None, None), only):
            with netdefs.build(network, outputs=name, target="cpu") as engine:
                runs.append(np.concatenate([engine.run({"input": each[None]})[name] for each in X]))
        (noise,) = (each for each in plain.cost.layers if each.name == name)
        assert noise.alone == pytest.approx(sqnr(*runs), abs=0.2)


def test_equalisation_and_bias_correction_help_a_depthwise_network(define, plain):
    """Its channels differ a hundredfold; the ranges of its activations are what suffers."""
    found = study(define, X, Options(equalize=True, correct_bias=True, measure_on=12))
    assert list(found.costs) == ["int8", "equalized", "biases corrected"]
    assert found.costs["int8"] == plain.cost
    assert found.costs["equalized"].sqnr > plain.cost.sqnr + 6
    assert found.cost.sqnr > plain.cost.sqnr + 6
    assert "biases of 6 layers are corrected" in found.calibration.notes[-1]
    low = define("int8", found.calibration, found.weights)
    assert sqnr(outputs(define("fp32", None, None)), outputs(low)) == pytest.approx(found.cost.sqnr, abs=0.5)
    with pytest.raises(NetdefsError, match="other weights"):
        define("int8", found.calibration, None)


def test_bias_correction_takes_the_mean_error_away(state, define, plain):
    """By hand: channel by channel, on a layer whose input is the same on both sides."""
    from netdefs.engine.tensorrt import definition_inputs
    from netdefs.quant.bias import correct_bias
    from netdefs.quant.feeds import Takes
    from netdefs.quant.pairing import pair

    network, low = define("fp32", None, None), define("int8", plain.calibration, None)
    feeds = list(Takes(definition_inputs(network.definition), {}).feeds(X))
    weights, _ = correct_bias(network, low, pair(network, low), feeds, plain.calibration)
    kernel = state["stem.weight"]
    scales = (kernel.flatten(1).abs().amax(1) / 127).contiguous()
    rounded = torch.fake_quantize_per_channel_affine(kernel, scales, torch.zeros(16, dtype=torch.int32), 0, -127, 127)
    x = torch.from_numpy(X)
    seen = torch.fake_quantize_per_tensor_affine(x, plain.calibration.scale("input"), 0, -128, 127)
    shift = torch.conv2d(seen, rounded, padding=1) - torch.conv2d(x, kernel, padding=1)
    expected = state["stem.bias"].double() - shift.double().mean((0, 2, 3))
    np.testing.assert_allclose(weights["stem.bias"], expected.numpy(), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(weights["stem.weight"], state["stem.weight"].numpy())


def test_a_search_and_what_is_written_of_it(define, plain, tmp_path, capsys):
    from rich.console import Console

    target = plain.cost.sqnr + 6
    found = study(define, X, Options(target=target, measure_on=12, search_on=12))
    assert found.proposal.keep
    assert found.proposal.score >= target
    assert found.kept.sqnr == pytest.approx(found.proposal.score, abs=1)  # fp16 in place of float32
    names = [name.removesuffix("_bn") for name in found.proposal.keep]  # with a batch norm folded in: the convolution's
    assert found.precision == {"*": "int8", **dict.fromkeys(names, "fp16")}
    print_study(found, Console(width=120), full=True)
    said = capsys.readouterr().out
    for words in ("int8 against float32, 12 pictures", "layers kept", f"Keep {len(found.proposal.keep)} of 6 layers"):
        assert words in said
    write_page(found, tmp_path / "a.html")
    write_curve(found, tmp_path / "a.svg")
    page, curve = (tmp_path / "a.html").read_text(), (tmp_path / "a.svg").read_text()
    assert curve in page
    assert curve.count("<circle") == sum(np.isfinite(point.score) for point in found.proposal.curve)
    assert "stem" in page
    content = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert content["proposal"]["keep"] == found.proposal.keep
    assert "NaN" not in curve_svg(found.proposal)


def test_a_metric(define):
    expected = outputs(define("fp32", None, None)).argmax(1)

    def agreement(engine):
        found = np.concatenate([engine.run({"input": each[None]})["logits"] for each in X]).argmax(1)
        return (found == expected).mean()

    found = study(define, X, Options(metric=agreement, max_drop=0.0, measure_on=4, search_on=4))
    assert found.proposal.score == 1
    assert found.proposal.unit == ""


def test_half_precision_needs_no_calibration(define):
    found = study(define, X, Options(precision="fp16", target=100))
    assert found.calibration is None
    assert found.cost.sqnr > 40
    assert found.precision == {"*": "fp16", **dict.fromkeys(found.proposal.keep, "fp32")}


def test_overflow_in_half_precision_is_named(state):
    loud = {key: value.clone() for key, value in state.items()}
    for key, factor in {"stem.weight": 700, "stem.bias": 700, "dw1.weight": 1 / 700}.items():
        loud[key] *= factor

    def define(precision, calibration, weights):
        return nets.network(loud, precision)

    found = study(define, X, Options(precision="fp16", target=40))
    assert [each.tensor for each in found.troubles if each.kind == "overflow"] == ["stem", "stem.relu"]
    assert found.cost.sqnr == -np.inf
    assert "stem" in found.proposal.keep
    assert found.proposal.score >= 40


def test_a_calibration_of_other_weights_is_refused(define, state, plain):
    other = {key: value + 1 if key == "stem.bias" else value for key, value in state.items()}
    with pytest.raises(NetdefsError, match="other weights"):
        nets.network(other, "int8", plain.calibration)
    changed = Calibration("resnet50", None, "max", dict(plain.calibration.amax))
    with pytest.raises(NetdefsError, match="a calibration of resnet50, the network is depthwise"):
        nets.network(state, "int8", changed)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (Options(method="kl"), "no calibration method"),
        (Options(metric=len), "go together"),
        (Options(max_drop=0.1), "go together"),
        (Options(metric=len, max_drop=0.1, target=20), "not both"),
        (Options(target=-1), "target=-1: it is a number from 0 on"),
        (Options(measure_on=0), "at least one picture"),
        (Options(precision="fp16", equalize=True), "are for int8 and fp8"),
    ],
)
def test_wrong_options(define, options, said):
    with pytest.raises(NetdefsError, match=said):
        study(define, X, options)


def test_an_iterator_is_refused(define):
    with pytest.raises(NetdefsError, match="more than once"):
        study(define, iter(X))


def test_reports_of_other_kinds(plain, tmp_path):
    with pytest.raises(NetdefsError, match=r"\.json, \.svg, \.html"):
        check_suffix("report.pdf")
    with pytest.raises(NetdefsError, match="no curve without a search"):
        write_curve(plain, tmp_path / "a.svg")


def test_what_is_public():
    assert set(quant.__all__) >= {"Calibration", "Options", "calibrate", "equalize", "record", "study"}


def test_the_target_is_reached_on_all_pictures_however_few_the_search_saw(define, plain):
    target = plain.cost.sqnr + 6
    found = study(define, X, Options(target=target, measure_on=12, search_on=1))
    assert found.kept.pictures == 12
    assert found.kept.sqnr == found.proposal.confirmed >= target
    low = define(found.precision, found.calibration, None)
    assert sqnr(outputs(define("fp32", None, None)), outputs(low)) == pytest.approx(found.kept.sqnr, abs=0.5)
    said = list(conclusion(found))
    assert said[0].endswith(f"so defined, the network reaches {found.kept.sqnr:.1f} dB on 12 pictures.")


def test_a_target_out_of_reach_is_said(define, plain):
    """With fp16 in the layers that are kept, 100 dB can't be: each step keeps more, until nothing is left."""
    found = study(define, X, Options(target=100, measure_on=2, search_on=1))
    assert (len(found.proposal.keep), found.proposal.confirmed, found.kept) == (6, None, None)
    (said,) = conclusion(found)
    assert said.startswith("With fewer than all 6 layers kept, the target of 100.0 dB is not reached")
