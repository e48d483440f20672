"""Small real networks on a real GPU, against the CPU engine: `pytest -m gpu`. docs/gpu.md says what has been seen."""

import importlib.util
import threading

import numpy as np
import pytest

import netdefs
from netdefs.core import trt as tensorrt
from netdefs.core.errors import EngineError, InputError
from netdefs.core.trt import compute_capability
from netdefs.engine.tensorrt import capabilities_of
from tests.engine import raw

pytestmark = pytest.mark.gpu

# The relative error that the type inside leaves.
TOLERANCE = {"float32": 1e-5, "float16": 2e-3, "bfloat16": 2e-2}
PROFILE = {"x": ((1, 3, 8, 8), (2, 3, 8, 8), (4, 3, 32, 32))}


@pytest.fixture(params=["tensorrt_rtx", "tensorrt"])
def package(request):
    """Each TensorRT that is installed and supports this GPU."""
    if importlib.util.find_spec(request.param) is None:
        pytest.skip(f"{request.param} is not installed")
    supported = capabilities_of(tensorrt.load(request.param))
    if supported and compute_capability() not in supported:
        pytest.skip(f"{request.param} does not list this GPU's compute capability {compute_capability()}")
    return request.param


def noise(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def pair(definition, package, **options):
    """The network on the GPU, and the same network on the CPU."""
    return netdefs.build(definition, target=package, **options), netdefs.build(definition, target="cpu")


def assert_close(got, expected, dtype="float32"):
    assert got.shape == expected.shape
    error = np.linalg.norm(got.astype(np.float64) - expected) / np.linalg.norm(expected)
    assert error < TOLERANCE[dtype], error


@pytest.mark.parametrize("dtype", list(TOLERANCE))
def test_it_agrees_with_the_cpu(package, dtype):
    gpu, cpu = pair(raw.conv_scale_relu(dtype, package=package), package)
    with gpu:
        for seed in range(3):  # the second run replays a CUDA graph, where there is one
            x = noise(1, 3, 8, 8, seed=seed)
            assert_close(gpu.run({"x": x})["out"], cpu.run({"x": x})["out"], dtype)


def test_auto_is_this_package(package):
    assert netdefs.build(raw.conv_scale_relu(package=package)).target == package


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_inputs_and_outputs(package, dtype):
    gpu, cpu = pair(raw.conv_scale_relu(dtype, package=package, io=dtype), package)
    x = noise(1, 3, 8, 8).astype(np.float16 if dtype == "float16" else np.float32)
    got, expected = gpu.run({"x": x})["out"], cpu.run({"x": x})["out"]
    assert got.dtype == expected.dtype
    assert_close(got, expected, dtype)


def test_dynamic_shapes_up_and_down(package):
    gpu, cpu = pair(raw.conv_scale_relu(shape=(-1, 3, -1, -1), package=package), package, profile=PROFILE)
    for shape in ((1, 3, 8, 8), (4, 3, 32, 32), (2, 3, 8, 8), (3, 3, 17, 9), (1, 3, 8, 8)):
        x = noise(*shape)
        assert_close(gpu.run({"x": x})["out"], cpu.run({"x": x})["out"])
    with pytest.raises(InputError, match=r"1\.\.4"):
        gpu.run({"x": noise(5, 3, 8, 8)})


def test_two_inputs_and_two_outputs(package):
    gpu, _ = pair(raw.two_inputs(package), package)
    a, b = noise(2, 3, seed=1), noise(2, 3, seed=2)
    results = gpu.run({"b": b, "a": a})
    np.testing.assert_array_equal(results["sum"], a + b)
    np.testing.assert_array_equal(results["product"], a * b)


def test_marked_layers(package):
    definition = raw.conv_scale_relu(package=package)
    gpu, cpu = pair(definition, package, outputs="*")
    x = noise(1, 3, 8, 8)
    expected = cpu.run({"x": x}, outputs="*")
    for name, array in gpu.run({"x": x}).items():
        assert_close(array, expected[name])


def test_saved_and_loaded(package, tmp_path):
    gpu, cpu = pair(raw.conv_scale_relu(package=package), package)
    gpu.save(tmp_path / "net.engine")
    x = noise(1, 3, 8, 8)
    expected = cpu.run({"x": x})["out"]
    with netdefs.load_engine(tmp_path / "net.engine") as loaded:
        assert_close(loaded.run({"x": x})["out"], expected)
    (tmp_path / "net.engine.json").unlink()
    with netdefs.load_engine(tmp_path / "net.engine") as bare:
        assert (bare.inputs, bare.outputs) == (gpu.inputs, gpu.outputs)
        assert_close(bare.run({"x": x})["out"], expected)


def test_a_damaged_plan_is_an_error(package, tmp_path):
    gpu, _ = pair(raw.conv_scale_relu(package=package), package)
    path = tmp_path / "net.engine"
    path.write_bytes(gpu.plan[: len(gpu.plan) // 2])
    with pytest.raises(EngineError):
        netdefs.load_engine(path)


def test_threads_take_turns(package):
    gpu, cpu = pair(raw.conv_scale_relu(package=package), package)
    inputs = [noise(1, 3, 8, 8, seed=seed) for seed in range(8)]
    expected = [cpu.run({"x": x})["out"] for x in inputs]
    results = [None] * 8

    def work(i):
        for _ in range(20):
            results[i] = gpu.run({"x": inputs[i]})["out"]

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for got, wanted in zip(results, expected, strict=True):
        assert_close(got, wanted)


def test_two_engines_side_by_side(package):
    first, cpu = pair(raw.conv_scale_relu(package=package), package)
    second, _ = pair(raw.two_inputs(package), package)
    x, a = noise(1, 3, 8, 8), noise(2, 3)
    for _ in range(3):
        assert_close(first.run({"x": x})["out"], cpu.run({"x": x})["out"])
        np.testing.assert_array_equal(second.run({"a": a, "b": a})["sum"], a + a)
    first.close()
    np.testing.assert_array_equal(second.run({"a": a, "b": a})["sum"], a + a)


# torch tensors on the GPU.


@pytest.fixture
def torch_on_gpu():
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("this torch has no CUDA")
    return torch


@pytest.mark.parametrize("dtype", list(TOLERANCE))
def test_gpu_tensors_stay_on_the_gpu(package, torch_on_gpu, dtype):
    torch = torch_on_gpu
    gpu, cpu = pair(raw.conv_scale_relu(dtype, package=package, io=dtype), package)
    x = noise(1, 3, 8, 8)
    tensor = torch.from_numpy(x).cuda().to(getattr(torch, dtype))
    out = gpu.run({"x": tensor})["out"]
    assert out.is_cuda
    assert out.dtype == tensor.dtype
    fed = tensor.float().cpu().numpy().astype(np.float16 if dtype == "float16" else np.float32)
    assert_close(out.float().cpu().numpy(), cpu.run({"x": fed})["out"], dtype)


@pytest.mark.parametrize("own_stream", [False, True])
def test_runs_are_ordered_with_torchs_stream(package, torch_on_gpu, own_stream):
    """The input is made, and the output used, by torch without any synchronization in between."""
    torch = torch_on_gpu
    gpu, cpu = pair(raw.conv_scale_relu(package=package), package)
    x = noise(1, 3, 8, 8)
    expected = cpu.run({"x": x})["out"]
    stream = torch.cuda.Stream() if own_stream else torch.cuda.current_stream()
    base = torch.from_numpy(x).cuda()
    torch.cuda.synchronize()
    with torch.cuda.stream(stream):
        big = torch.randn(4096, 4096, device="cuda")
        for _ in range(5):
            big = big @ big / 64  # keeps the stream busy
            made = base + 0 * big.sum().nan_to_num(0, 0, 0)
            out = gpu.run({"x": made})["out"]
            del made
            torch.empty_like(base).fill_(7)  # takes the memory of the input, if it was given back too early
            assert_close((out + 0).cpu().numpy(), expected)


def test_gpu_tensors_that_cannot_be_read_in_place(package, torch_on_gpu):
    torch = torch_on_gpu
    gpu, _ = pair(raw.conv_scale_relu(package=package), package)
    with pytest.raises(InputError, match="contiguous"):
        gpu.run({"x": torch.zeros(1, 8, 8, 3, device="cuda").permute(0, 3, 1, 2)})
    with pytest.raises(InputError, match="256"):
        gpu.run({"x": torch.zeros(193, device="cuda")[1:].view(1, 3, 8, 8)})


def test_debug_tensors_have_the_values_of_marked_outputs(package):
    definition = raw.conv_scale_relu(package=package)
    x = noise(1, 3, 8, 8)
    expected = netdefs.build(definition, target="cpu").run({"x": x}, outputs=["conv", "bn"])
    with netdefs.build(definition, target=package, debug=["conv", "bn"]) as engine:
        found = {}
        outputs = engine.watch({"x": x}, found.__setitem__)
        assert_close(outputs["out"], expected["out"])
        assert_close(engine.run({"x": x})["out"], expected["out"])
    assert sorted(found) == ["bn", "conv"]
    for name, array in found.items():
        assert_close(array, expected[name])


def test_unfused_debug_tensors_change_no_bit_of_the_outputs(package):
    definition = raw.conv_scale_relu(package=package)
    x = noise(1, 3, 8, 8)
    with netdefs.build(definition, target=package) as plain:
        expected = plain.run({"x": x})["out"]
    with netdefs.build(definition, target=package, unfused=True) as engine:
        found = {}
        try:
            outputs = engine.watch({"x": x}, found.__setitem__)
        except EngineError as error:
            assert "No debug tensor was handed out" in str(error)  # all of it may be one kernel
            outputs = engine.run({"x": x})
    np.testing.assert_array_equal(outputs["out"], expected)
