"""Plans are really compiled here: TensorRT-RTX needs no GPU for that."""

import types

import numpy as np
import pytest

import netdefs
from netdefs.core import trt as tensorrt
from netdefs.core.errors import EngineError, NetworkError
from netdefs.core.network import Network
from netdefs.engine.base import TensorInfo
from netdefs.engine.tensorrt import build_plan, capabilities_of
from tests.engine import raw

FLOAT = np.dtype(np.float32)
PROFILE = {"x": ((1, 3, 8, 8), (2, 3, 8, 8), (4, 3, 16, 16))}


def build(definition, **options):
    return netdefs.build(definition, target="tensorrt_rtx", **options)


def outputs_of(definition):
    return [definition.get_output(i).name for i in range(definition.num_outputs)]


def test_a_raw_definition_becomes_a_plan():
    engine = build(raw.conv_scale_relu())
    assert engine.target == "tensorrt_rtx"
    assert engine.inputs == {"x": TensorInfo((1, 3, 8, 8), FLOAT)}
    assert engine.outputs == {"out": TensorInfo((1, 8, 8, 8), FLOAT)}
    assert engine.info == {}
    assert len(engine.plan) > 1000


def test_a_plan_for_two_gpu_generations():
    definition = raw.conv_scale_relu()
    engine = build(definition, compute_capabilities=("8.6", "12.0"))
    assert engine.plan != build(definition, compute_capabilities="8.6").plan
    assert engine.plan == build(definition, compute_capabilities=["8.6", "12.0", "8.6"]).plan


def test_plans_are_reproducible():
    assert build(raw.conv_scale_relu()).plan == build(raw.conv_scale_relu()).plan


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_a_half_plan_is_about_half_the_size(precision):
    def plan_bytes(precision):
        weights = {f"conv{i}.weight": np.ones((512, 512, 3, 3), np.float32) for i in range(2)}
        net = Network(weights, "wide", precision)
        x = net.input("x", (1, 512, 8, 8))
        for i in range(2):
            x = net.conv(x, f"conv{i}", 512, kernel=3, padding=1, bias=False)
        net.finish(net.output(x, "out"))
        return len(build(net).plan)

    assert plan_bytes(precision) == pytest.approx(plan_bytes("fp32") / 2, rel=0.05)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_inputs_and_outputs(dtype):
    engine = build(raw.conv_scale_relu(dtype, io=dtype))
    expected = "bfloat16" if dtype == "bfloat16" else np.dtype(np.float16)
    assert engine.inputs["x"].dtype == expected
    assert engine.outputs["out"].dtype == expected


def test_dynamic_batch_height_and_width():
    engine = build(raw.conv_scale_relu(shape=(-1, 3, -1, -1)), profile=PROFILE)
    assert engine.inputs["x"].shape == (-1, 3, -1, -1)
    assert engine.outputs["out"].shape == (-1, 8, -1, -1)
    assert engine.profile == PROFILE


def test_the_networks_own_profile_is_used():
    net = Network({}, "dynamic")
    net.finish(net.output(net.relu(net.input("x", ((1, 2, 4), 3, 8, 8)), "relu"), "out"))
    engine = build(net)
    assert engine.profile == {"x": ((1, 3, 8, 8), (2, 3, 8, 8), (4, 3, 8, 8))}


def test_dynamic_without_a_profile_is_an_error():
    with pytest.raises(EngineError, match="'x' has none"):
        build(raw.conv_scale_relu(shape=(-1, 3, 8, 8)))


def test_two_inputs_and_two_outputs():
    engine = build(raw.two_inputs())
    assert list(engine.inputs) == ["a", "b"]
    assert list(engine.outputs) == ["sum", "product"]


def test_further_outputs_are_marked_for_the_build_only():
    definition = raw.conv_scale_relu()
    engine = build(definition, outputs=["conv", "b*"])
    assert list(engine.outputs) == ["out", "conv", "bn"]
    assert outputs_of(definition) == ["out"]


def test_marks_are_taken_back_after_a_failure():
    definition = raw.conv_scale_relu()
    with pytest.raises(NetworkError, match="No layer's output matches 'cnov'"):
        build(definition, outputs=["bn", "cnov"])
    with pytest.raises(EngineError):
        build(definition, outputs="bn", optimization_level=9)
    assert outputs_of(definition) == ["out"]


def test_marks_of_the_user_stay():
    definition = raw.conv_scale_relu()
    definition.mark_output(definition.get_layer(0).get_output(0))
    assert list(build(definition, outputs="*").outputs) == ["out", "conv", "bn", "relu"]
    assert outputs_of(definition) == ["out", "conv"]


def test_tf32_is_off_unless_asked_for(monkeypatch):
    trt, definition = raw.empty()
    x = definition.add_input("x", trt.float32, (1, 4))
    definition.mark_output(raw.named(definition.add_identity(x), "out"))
    seen = []
    real = trt.Builder.build_serialized_network
    monkeypatch.setattr(
        trt.Builder,
        "build_serialized_network",
        lambda self, network, config: (seen.append(config.get_flag(trt.BuilderFlag.TF32)), real(self, network, config))[
            1
        ],
    )
    build(definition)
    for precision in ("fp32", "tf32"):
        net = Network({}, precision=precision)
        net.finish(net.output(net.relu(net.input("x", (1, 4)), "relu"), "out"))
        build(net)
    assert seen == [False, False, True]


def test_options_reach_the_compiler(monkeypatch):
    trt, definition = raw.empty()
    x = definition.add_input("x", trt.float32, (1, 4))
    definition.mark_output(raw.named(definition.add_identity(x), "out"))
    seen = []
    real = trt.Builder.build_serialized_network

    def spy(self, network, config):
        seen.append(
            (
                config.builder_optimization_level,
                config.get_memory_pool_limit(trt.MemoryPoolType.WORKSPACE),
                config.profiling_verbosity,
            )
        )
        return real(self, network, config)

    monkeypatch.setattr(trt.Builder, "build_serialized_network", spy)
    build(definition, optimization_level=1, workspace=1 << 26)
    assert seen == [(1, 1 << 26, trt.ProfilingVerbosity.DETAILED)]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"optimization_level": 6}, "it goes from 0 to 5"),
        ({"workspace": 0}, "positive number of bytes"),
        ({"workspace": "1G"}, "positive number of bytes"),
        ({"compute_capabilities": ()}, "compute_capabilities is empty. Choose from 7.5, 8.0"),
        (
            {"compute_capabilities": ("8.6", "9.0")},
            "'9.0': it takes 7.5, 8.0, 8.6, 8.9, 12.0, 12.1, as strings. Hopper",
        ),
        ({"compute_capabilities": ("sm_86",)}, "'sm_86'"),
        ({"compute_capabilities": (8.6,)}, "8.6: it takes"),
    ],
)
def test_wrong_options(options, words):
    with pytest.raises(EngineError) as caught:
        build(raw.conv_scale_relu(), **options)
    assert words in str(caught.value)


def test_valid_capabilities_come_from_the_package():
    trt, _ = raw.empty()
    assert capabilities_of(trt) == ["7.5", "8.0", "8.6", "8.9", "12.0", "12.1"]


def test_what_the_compiler_refuses_is_told_in_its_own_words():
    trt, definition = raw.empty("broken")
    x = definition.add_input("x", trt.float32, (1, 4))
    wrong = definition.add_constant((3,), np.zeros(5, np.float32))  # TensorRT finds this out only now
    total = definition.add_elementwise(
        x, definition.add_shuffle(wrong.get_output(0)).get_output(0), trt.ElementWiseOperation.SUM
    )
    definition.mark_output(total.get_output(0))
    with pytest.raises(EngineError) as caught:
        build(definition)
    message = str(caught.value)
    assert message.startswith(f"tensorrt_rtx {trt.__version__} could not build broken. It says:\n")
    assert "Error Code" in message
    assert "target='cpu'" in message


def test_old_complaints_are_not_passed_off_as_new_ones(monkeypatch):
    trt, definition = raw.empty()
    definition.mark_output(definition.add_constant((3,), np.zeros(5, np.float32)).get_output(0))
    tensorrt.logger_of(trt).complaints.append("an error of long ago")
    with pytest.raises(EngineError) as caught:
        build(definition)
    assert "long ago" not in str(caught.value)
    assert tensorrt.logger_of(trt).take() == ""


def test_networks_that_are_not_strongly_typed(monkeypatch):
    """TensorRT 10 can still make them; RTX can't."""
    trt, _ = raw.empty()
    monkeypatch.setattr(tensorrt, "module_of", lambda definition: trt)
    weak = types.SimpleNamespace(
        builder=None, get_flag=lambda flag: flag != trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED
    )
    with pytest.raises(EngineError, match="not strongly typed"):
        build_plan(weak, profile={}, precision="fp32")


def test_a_raw_network_with_a_logger_of_its_own_says_where_to_look():
    trt, _ = raw.empty()
    # TensorRT keeps the first logger of a process, so what this one would get can't be told apart; only that there is
    # an error, with words or with the advice.
    definition = trt.Builder(trt.Logger(trt.Logger.INTERNAL_ERROR)).create_network(1)
    x = definition.add_input("x", trt.float32, (1, 4))
    definition.mark_output(definition.add_constant((3,), np.zeros(5, np.float32)).get_output(0))
    definition.mark_output(definition.add_identity(x).get_output(0))
    with pytest.raises(EngineError, match="could not build"):
        build(definition)


def test_types_that_cannot_leave_the_network():
    trt, definition = raw.empty()
    x = definition.add_input("x", trt.float32, (4, 4))
    scale = definition.add_constant((), np.float32([0.5])).get_output(0)
    definition.mark_output(raw.named(definition.add_quantize(x, scale, trt.fp8), "eight"))
    with pytest.raises(EngineError, match="'eight' is FP8, which an engine can't hand over"):
        build(definition)
