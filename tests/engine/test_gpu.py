"""The order of CUDA and TensorRT calls in a run, on a pretend GPU. What a real one says is in test_on_gpu.py."""

import contextlib
import re
import threading

import numpy as np
import pytest
import torch

from engine import fakes
from netdefs.core.dtypes import bfloat16_to_float32, float32_to_bfloat16
from netdefs.core.errors import EngineError, InputError, MissingPackageError
from netdefs.core.trt import compute_capability
from netdefs.engine import gpu
from netdefs.engine.base import TensorInfo
from netdefs.engine.cuda import Cuda
from tests.engine.fakes import World

X = np.float32([[1, 2, 3, 4]])


@pytest.fixture
def make(monkeypatch):
    def runner(**tensors):
        world = World(**tensors)
        return world, gpu.Runner(world.install(monkeypatch), b"plan")

    return runner


def test_the_calls_of_a_run_in_order(make):
    world, runner = make()
    assert [call[0] for call in world.calls] == ["set_current", "deserialize", "context"]
    world.calls.clear()
    np.testing.assert_array_equal(runner.run({"x": X})["out"], 2 * X)
    assert [call[0] for call in world.calls] == [
        "set_current",
        "set_input_shape",
        "allocate device",
        "allocate pinned",
        "copy",
        "set_tensor_address",
        "infer_shapes",
        "allocate device",
        "allocate pinned",
        "set_tensor_address",
        "execute",
        "copy",
        "sync",
    ]


def test_rtx_replays_a_cuda_graph(make):
    world, _ = make()
    assert world.named("context") == [(world.trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE,)]


def test_later_runs_allocate_nothing_and_do_not_touch_earlier_results(make):
    world, runner = make()
    first = runner.run({"x": X})["out"]
    world.calls.clear()
    np.testing.assert_array_equal(runner.run({"x": 10 * X})["out"], 20 * X)
    np.testing.assert_array_equal(first, 2 * X)
    assert not world.named("allocate device")
    assert not world.named("allocate pinned")


def test_every_input_is_given_its_shape_and_address(make):
    world, runner = make(y=((1, 4), "float32"))
    np.testing.assert_array_equal(runner.run({"x": X, "y": X + 1})["out"], 3 * X + 1)
    assert world.named("set_input_shape") == [("x", (1, 4)), ("y", (1, 4))]
    assert world.named("set_tensor_address") == [("x",), ("y",), ("out",)]


def test_dynamic_shapes_grow_the_buffers_and_never_shrink_them(make):
    ranges = {"x": ((1, 4), (2, 4), (8, 4))}
    world, runner = make(x=((-1, 4), "float32"), out=((-1, 4), "float32"), ranges=ranges)
    assert runner.inputs == {"x": TensorInfo((-1, 4), np.dtype(np.float32))}
    assert runner.profile == ranges
    for batch in (2, 1, 8, 3, 8):
        x = np.random.default_rng(batch).standard_normal((batch, 4), dtype=np.float32)
        np.testing.assert_array_equal(runner.run({"x": x})["out"], 2 * x)
    assert world.named("allocate device") == [(32,), (32,), (128,), (128,)]
    assert world.named("copy") == [(size,) for batch in (2, 1, 8, 3, 8) for size in (16 * batch, 16 * batch)]


@pytest.mark.parametrize("dtype", ["float16", "int32", "uint8", "int64", "bool"])
def test_other_types(make, dtype):
    _, runner = make(x=((1, 4), dtype), out=((1, 4), dtype))
    x = X.astype(dtype)
    out = runner.run({"x": x})["out"]
    assert out.dtype == dtype
    np.testing.assert_array_equal(out, (2 * x).astype(dtype))


def test_bfloat16_travels_as_float32(make):
    _, runner = make(x=((1, 4), "bfloat16"), out=((1, 4), "bfloat16"))
    x = np.float32([[1.001, -2.3, 1e30, 0]])
    assert runner.outputs["out"].dtype == "bfloat16"
    np.testing.assert_array_equal(runner.run({"x": x})["out"], bfloat16_to_float32(float32_to_bfloat16(x)))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        ("set_input_shape", "refuses the shape (1, 4) of input 'x': its own words"),
        ("set_tensor_address", "refuses the memory of 'x': its own words"),
        ("infer_shapes", "do not suit the network: shapes do not fit its own words"),
        ("data-dependent", "output 'out' depends on values, (-1, 4)"),
        ("execute", "could not run the network. It says:\nits own words"),
        ("allocate", "CUDA failed while allocating 16 bytes: CUDA_ERROR_OUT_OF_MEMORY"),
    ],
)
def test_each_failure_is_an_error_and_the_stream_is_waited_for(make, call, words):
    world, runner = make()
    world.refuse = {call}
    with pytest.raises(EngineError, match=re.escape(words)):
        runner.run({"x": X})
    assert world.calls[-1] == ("sync",)
    world.refuse = set()
    np.testing.assert_array_equal(runner.run({"x": X})["out"], 2 * X)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        ("deserialize", "can't load this plan. It says:\nits own words"),
        ("context", "can't prepare this plan to run. It says:\nits own words"),
        ("location", "'x' is a shape tensor or not in plain row-major layout"),
    ],
)
def test_plans_that_cannot_run(monkeypatch, call, words):
    world = World()
    world.refuse = {call}
    module = world.install(monkeypatch)
    with pytest.raises(EngineError, match=re.escape(words)):
        gpu.Runner(module, b"plan")


def test_without_cuda_python_the_extra_is_named(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "cuda.core", None)
    with pytest.raises(MissingPackageError, match=r"pip install 'netdefs\[gpu\]'"):
        gpu.Runner(World().trt, b"plan")


def test_closing_frees_all(make):
    world, runner = make()
    runner.run({"x": X})
    runner.close()
    assert world.calls[-2:] == [("sync",), ("close stream",)]
    assert all(buffer.closed for buffer in world.live.values())


def test_threads_take_turns(make):
    _, runner = make()
    wrong = []

    def work(seed):
        for i in range(50):
            x = np.full((1, 4), seed * 100 + i, np.float32)
            wrong.extend(np.flatnonzero(runner.run({"x": x})["out"] != 2 * x))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


# torch tensors on the GPU: a tensor on the CPU that says it is one.


class OnGpu:
    def __init__(self, tensor, index=0):
        self.tensor, self.is_cuda = tensor, True
        self.device = torch.device("cuda", index)
        self.shape, self.dtype = tensor.shape, tensor.dtype

    def __getattr__(self, name):
        return getattr(self.tensor, name)


def aligned(shape, dtype=torch.float32):
    """A tensor that starts where CUDA memory does, at a multiple of 256 bytes."""
    memory = torch.empty(1024, dtype=torch.uint8)
    start = -memory.data_ptr() % 256
    count = int(np.prod(shape)) * dtype.itemsize
    return memory[start : start + count].view(dtype).view(shape)


@pytest.fixture
def on_torch(monkeypatch):
    """Takes the place of what only a CUDA build of torch can do; records how the two streams were ordered."""
    events = []

    @contextlib.contextmanager
    def ordered(handle, device, feeds):
        events.append(("after torch", handle, str(device), list(feeds)))
        yield
        events.append(("before torch",))

    monkeypatch.setattr(gpu, "_ordered", ordered)
    monkeypatch.setattr(gpu, "_empty", lambda shape, dtype, device: aligned(shape, getattr(torch, dtype)))
    return events


def on_gpu(values=X, index=0):
    tensor = aligned(values.shape)
    tensor.copy_(torch.from_numpy(values))
    return OnGpu(tensor, index)


def test_gpu_tensors_are_read_and_written_in_place(make, on_torch):
    world, runner = make()
    world.calls.clear()
    x = on_gpu()  # held until the stream is done, as record_stream sees to on a GPU
    results = runner.run({"x": x})
    assert on_torch == [("after torch", 0x5712EA3, "cuda:0", ["x"]), ("before torch",)]
    assert [call[0] for call in world.calls] == [
        "set_current",
        "set_input_shape",
        "set_tensor_address",
        "infer_shapes",
        "set_tensor_address",
        "execute",
    ]
    world.stream.sync()
    assert isinstance(results["out"], torch.Tensor)
    np.testing.assert_array_equal(results["out"].numpy(), 2 * X)


@pytest.mark.parametrize(
    ("tensor", "words"),
    [
        (OnGpu(aligned((4, 1)).t()[:, ::2]), "is not contiguous, and is read in place: pass x.contiguous()"),
        (OnGpu(aligned((5,))[1:].view(1, 4)), "no multiple of 256 bytes, and is read in place: pass x.clone()"),
        (on_gpu(index=1), "is on cuda:1, and the engine on cuda:0"),
    ],
)
def test_gpu_tensors_that_cannot_be_read_in_place(make, on_torch, tensor, words):
    _, runner = make()
    with pytest.raises(InputError, match=re.escape(words)):
        runner.run({"x": tensor})


def test_arrays_and_gpu_tensors_do_not_mix(make):
    _, runner = make(y=((1, 4), "float32"))
    with pytest.raises(InputError, match="'x' is on the GPU and 'y' is not: bring them to one place"):
        runner.run({"x": on_gpu(), "y": X})


def test_the_streams_are_ordered_with_torch_both_ways(monkeypatch):
    events = []

    class Stream:
        def __init__(self, name):
            self.name = name

        def wait_stream(self, other):
            events.append(f"{self.name} waits for {other.name}")

    class Tensor:
        def record_stream(self, stream):
            events.append(f"kept for {stream.name}")

    monkeypatch.setattr(torch.cuda, "ExternalStream", lambda handle, device: Stream(f"stream {handle}"))
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: Stream("torch"))
    with gpu._ordered(7, "cuda:0", {"x": Tensor()}):
        events.append("run")
    assert events == ["stream 7 waits for torch", "run", "torch waits for stream 7", "kept for stream 7"]


# The pretend GPU must not have names that the real packages lack.


def test_the_names_of_tensorrts_runtime():
    trt = World().trt
    names = {
        trt.Runtime: ["deserialize_cuda_engine"],
        trt.ICudaEngine: [name for name in vars(fakes.Engine) if not name.startswith("_")] + ["num_io_tensors"],
        trt.IExecutionContext: [name for name in vars(fakes.Context) if not name.startswith("_")],
        trt.IRuntimeConfig: ["cuda_graph_strategy"],
    }
    missing = [
        f"{owner.__name__}.{name}" for owner, listed in names.items() for name in listed if not hasattr(owner, name)
    ]
    assert missing == []


def test_the_names_of_cuda_core():
    core = pytest.importorskip("cuda.core", reason="cuda-python is not installed: pip install 'netdefs[gpu]'")
    names = {
        core.Device: ["device_id", "set_current", "create_stream", "allocate"],
        core.Stream: ["handle", "sync", "close", "from_handle"],
        core.Buffer: ["from_handle", "copy_to", "handle", "close"],
        core.LegacyPinnedMemoryResource: ["allocate"],
    }
    missing = [
        f"{owner.__name__}.{name}" for owner, listed in names.items() for name in listed if not hasattr(owner, name)
    ]
    assert missing == []
    core.LegacyPinnedMemoryResource()  # takes no arguments, and no driver yet


def test_cuda_without_a_driver_is_one_clear_error():
    pytest.importorskip("cuda.core", reason="cuda-python is not installed: pip install 'netdefs[gpu]'")
    if compute_capability() is not None:
        pytest.skip("there is a GPU")
    with pytest.raises(EngineError, match="CUDA failed while starting"):
        Cuda()
