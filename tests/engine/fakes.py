"""A pretend GPU: `cuda.core` and TensorRT's runtime, on the host.

Work put on a stream is done when it is synchronized, and not before: what reads a result too early, or changes an input
too early, gets wrong numbers here as it would on a GPU. Every call is recorded in order.
"""

import ctypes
import types

import numpy as np

from netdefs.core import trt as tensorrt
from netdefs.engine import cuda, gpu

HANDLE = 0x5712EA3
OTHER_HANDLE = 0x5712EA4  # TensorRT may compute a tensor on a stream of its own


class Stream:
    def __init__(self, world):
        self.world = world
        self.queue = []
        self.handle = HANDLE

    def sync(self):
        self.world.record("sync")
        queue, self.queue = self.queue, []
        for work, _ in queue:
            work()

    def uses(self, address):
        return any(address in addresses for _, addresses in self.queue)

    def close(self):
        self.world.record("close stream")


class Buffer:
    def __init__(self, address, size, owner=None):
        self.handle, self.size, self.owner = address, size, owner
        self.closed = False

    @staticmethod
    def from_handle(ptr, size, mr=None, owner=None):
        return Buffer(ptr, size, owner)

    def copy_to(self, target, *, stream):
        assert target.size == self.size, "cuda.core refuses copies between buffers of different sizes"
        assert not any(getattr(buffer.owner, "closed", False) or buffer.closed for buffer in (target, self))
        stream.world.record("copy", self.size)
        work = lambda: ctypes.memmove(target.handle, self.handle, self.size)  # noqa: E731
        stream.queue.append((work, {target.handle, self.handle}))

    def close(self, stream=None):
        assert not stream.uses(self.handle), "freed while work on it is under way"
        self.closed = True


class World:
    """One GPU with one engine on it: outputs `out` = 2 x + y and `half` = x / 2, shaped like x.

    Args:
        x, y, out, half: (shape, numpy type or "bfloat16") of the tensors; y may be None.
    """

    def __init__(self, x=((1, 4), "float32"), y=None, out=((1, 4), "float32"), ranges=None):
        self.calls = []
        self.trt = tensorrt.load("tensorrt_rtx")
        self.tensors = {"x": x, **({"y": y} if y else {}), "out": out}
        self.ranges = ranges
        self.refuse = set()  # calls that fail
        self.stream = Stream(self)
        self.live = {}
        self.lent = set()  # addresses of debug tensors, while a listener is called
        self.debug = {}  # debug tensor -> its type, its values given x, and whether it is in host memory

    def record(self, *call):
        self.calls.append(call)

    def named(self, name):
        return [call[1:] for call in self.calls if call[0] == name]

    # cuda.core

    def allocate(self, kind, size):
        self.record(f"allocate {kind}", size)
        if "allocate" in self.refuse:
            raise RuntimeError("CUDA_ERROR_OUT_OF_MEMORY")
        memory = (ctypes.c_char * (size + 256))()
        address = -(-ctypes.addressof(memory) // 256) * 256
        ctypes.memset(address, 0xFF, size)  # NaNs, in all float types
        buffer = Buffer(address, size, owner=memory)
        self.live[address] = buffer
        return buffer

    def core(self):
        world = self

        class Device:
            device_id = 0

            def set_current(self):
                world.record("set_current")

            def create_stream(self):
                return world.stream

            def allocate(self, size, *, stream):
                assert stream is world.stream
                return world.allocate("device", size)

        class Pinned:
            def allocate(self, size, *, stream=None):
                return world.allocate("pinned", size)

        class Views(Buffer):
            @staticmethod
            def from_handle(ptr, size, mr=None, owner=None):
                if owner is None:  # TensorRT's own memory
                    assert ptr in world.lent
                    return Buffer(ptr, size)
                assert owner is world.live[ptr] and not owner.closed and size <= owner.size
                return Buffer(ptr, size, owner)

        class Streams:
            @staticmethod
            def from_handle(handle):
                assert handle == OTHER_HANDLE
                return world.stream

        return types.SimpleNamespace(Device=Device, LegacyPinnedMemoryResource=Pinned, Buffer=Views, Stream=Streams)

    # TensorRT

    def module(self):
        world = self

        class Runtime:
            def __init__(self, logger):
                pass

            def deserialize_cuda_engine(self, plan):
                world.record("deserialize", plan)
                return None if "deserialize" in world.refuse else Engine(world)

        real = self.trt
        names = ("IDebugListener", "TensorLocation", "TensorFormat", "TensorIOMode", "DataType", "CudaGraphStrategy")
        members = {name: getattr(real, name) for name in names}
        return types.SimpleNamespace(
            __name__="tensorrt_rtx",
            __version__=real.__version__,
            Runtime=Runtime,
            ComputeCapability=real.ComputeCapability,
            **members,
        )

    def install(self, monkeypatch):
        """Puts this world in the place of the real one; returns a Runner's arguments."""
        log = types.SimpleNamespace(bridge=None, take=lambda: "its own words")
        monkeypatch.setattr(cuda, "require", lambda module, extra: self.core())
        monkeypatch.setattr(gpu.tensorrt, "logger_of", lambda trt: log)
        return self.module()


class Engine:
    def __init__(self, world):
        self.world = world
        self.num_io_tensors = len(world.tensors)

    def get_tensor_name(self, index):
        return list(self.world.tensors)[index]

    def get_tensor_location(self, name):
        return (
            self.world.trt.TensorLocation.HOST
            if "location" in self.world.refuse
            else self.world.trt.TensorLocation.DEVICE
        )

    def get_tensor_format(self, name):
        return self.world.trt.TensorFormat.LINEAR

    def get_tensor_mode(self, name):
        return self.world.trt.TensorIOMode.OUTPUT if name == "out" else self.world.trt.TensorIOMode.INPUT

    def get_tensor_shape(self, name):
        return self.world.tensors[name][0]

    def get_tensor_dtype(self, name):
        return getattr(self.world.trt, self.world.tensors[name][1])

    def get_tensor_profile_shape(self, name, index):
        return self.world.ranges[name]

    def create_runtime_config(self):
        return types.SimpleNamespace()

    def create_execution_context(self, config=None):
        self.world.record("context", config.cuda_graph_strategy if config else None)
        return None if "context" in self.world.refuse else Context(self.world)


class Context:
    def __init__(self, world):
        self.world, self.shapes, self.addresses = world, {}, {}
        self.listener, self.told = None, False
        self.unfused_tensors_debug_state = False

    def set_debug_listener(self, listener):
        self.listener = listener
        return "set_debug_listener" not in self.world.refuse

    def set_all_tensors_debug_state(self, flag):
        self.told = flag
        return True

    def _tell(self, name, kind, value, on_host):
        """Calls the listener as TensorRT does: on a buffer that is filled in the stream's order, and used again."""
        array = np.ascontiguousarray(value)
        memory = (ctypes.c_char * max(array.nbytes, 1))()
        address = ctypes.addressof(memory)
        queue = self.world.stream.queue
        if on_host:
            ctypes.memmove(address, array.ctypes.data, array.nbytes)
        else:
            ctypes.memset(address, 0xFF, array.nbytes)
            queue.append((lambda: ctypes.memmove(address, array.ctypes.data, array.nbytes), {address}))
        self.world.lent.add(address)
        trt = self.world.trt
        where = trt.TensorLocation.HOST if on_host else trt.TensorLocation.DEVICE
        new = ctypes.pythonapi.PyCapsule_New
        new.restype, new.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
        capsule, shape = new(address, None, None), trt.Dims(list(array.shape))
        self.listener.process_debug_tensor(capsule, where, getattr(trt, kind), shape, name, OTHER_HANDLE)
        self.world.lent.discard(address)
        ctypes.memset(address, 0xFF, array.nbytes)

    def set_input_shape(self, name, shape):
        self.world.record("set_input_shape", name, shape)
        self.shapes[name] = shape
        return "set_input_shape" not in self.world.refuse

    def set_tensor_address(self, name, address):
        assert address % 256 == 0
        self.world.record("set_tensor_address", name)
        self.addresses[name] = address
        return "set_tensor_address" not in self.world.refuse

    def infer_shapes(self):
        self.world.record("infer_shapes")
        if "infer_shapes" in self.world.refuse:
            raise RuntimeError("shapes do not fit")
        return [name for name in self.world.tensors if name != "out" and name not in self.shapes]

    def get_tensor_shape(self, name):
        return (-1, 4) if "data-dependent" in self.world.refuse else self.shapes["x"]

    def execute_async_v3(self, handle):
        assert handle == HANDLE
        self.world.record("execute")
        if "execute" in self.world.refuse:
            return False
        shapes, addresses = dict(self.shapes), dict(self.addresses)
        assert set(addresses) == set(self.world.tensors)

        def array(name):
            shape, dtype = shapes["x" if name == "out" else name], self.world.tensors[name][1]
            storage = np.dtype(np.uint16 if dtype == "bfloat16" else dtype)
            count = int(np.prod(shape))
            memory = (ctypes.c_char * (count * storage.itemsize)).from_address(addresses[name])
            return np.frombuffer(memoryview(memory), storage).reshape(shape)

        def work():
            if self.world.tensors["x"][1] == "bfloat16":
                array("out")[...] = array("x")  # the bits
            else:
                array("out")[...] = 2 * array("x") + (array("y") if "y" in self.world.tensors else 0)

        self.world.stream.queue.append((work, set(addresses.values())))
        if self.told and self.listener is not None:
            self.world.stream.sync()  # so that the input can be read here
            for name, (kind, compute, on_host) in self.world.debug.items():
                self._tell(name, kind, compute(array("x")), on_host)
        return True
