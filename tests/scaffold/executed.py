"""The statements of a traced module, executed one by one on a network: what they give must be what PyTorch gives."""

from typing import Any

import numpy as np
import onnxruntime
import torch

import netdefs
from netdefs.scaffold.capture import capture
from netdefs.scaffold.execute import execute
from netdefs.scaffold.names import Names
from netdefs.scaffold.program import Call, Dim, Math, Raw, Unit, Value
from netdefs.scaffold.units import Builder


class Executed:
    """A module lowered to statements, and what these compute.

    Args:
        module: a torch.nn.Module.
        inputs: its tensors, (N, ...) with N of 2 or more.
        partial: gaps are no error.
    """

    def __init__(self, module: torch.nn.Module, *inputs: torch.Tensor, partial: bool = False) -> None:
        self.module = module.eval()
        self.inputs = {f"x{i}" if i else "x": value for i, value in enumerate(inputs)}
        captured = capture(self.module, self.inputs)
        self.captured = captured
        builder = Builder(captured, Names(self.module, list(inputs)), partial)
        self.root = builder.build()
        self.outputs = [builder.env[node] for node in _leaves(captured.outputs)]
        self.gaps = builder.gaps

    def statements(self) -> list[Call]:
        """All statements, in order."""

        def below(unit: Unit) -> list[Call]:
            return [call for item in unit.body for call in (below(item) if isinstance(item, Unit) else [item])]

        return below(self.root)

    def functions(self) -> list[str]:
        """What the statements call: methods, and the templates of arrays."""
        return [call.function for call in self.statements()]

    def texts(self) -> list[str]:
        """The statements as short lines."""
        names: dict[Value, str] = {}

        def text(arg: Any) -> str:
            if isinstance(arg, Value):
                return names.setdefault(arg, f"{arg.hint}{len(names)}")
            if isinstance(arg, Dim):
                return f"{text(arg.value)}.shape[{arg.axis}]"
            if isinstance(arg, Math):
                return f"({text(arg.left)} {arg.operator} {text(arg.right)})"
            if isinstance(arg, tuple | list):
                return f"({', '.join(map(text, arg))})"
            return str(arg.text) if isinstance(arg, Raw) else repr(arg)

        lines = []
        for call in self.statements():
            given = [*map(text, call.inputs), *(f"{key}={text(value)}" for key, value in call.options.items())]
            made = ", ".join(map(text, call.results))
            lines.append(f"{made} = {call.function}({', '.join(given)})  # {'.'.join(call.path or ())}")
        return lines

    def network(self, dynamic: bool = True) -> netdefs.Network:
        """The network that the statements define; its batch of any size if `dynamic`."""
        weights = {key: value.detach().numpy() for key, value in self.module.state_dict(keep_vars=True).items()}
        weights = {key: value.astype(np.float32) for key, value in weights.items()}
        net = netdefs.Network(weights, package="tensorrt_rtx")
        env: dict[Value, Any] = {}
        first: Any = (1, 2, 8) if dynamic else 2
        for value, (name, tensor) in zip(self.root.inputs or [], self._used_inputs(), strict=True):
            env[value] = net.input(name, (first, *tensor.shape[1:]))
        env = execute(self.statements(), net, env)
        for key in weights:
            net.ignore(key)
        net.finish({str(i): net.output(env[value], f"output_{i}") for i, value in enumerate(self.outputs)})
        return net

    def values(self, dynamic: bool = True) -> list[np.ndarray]:
        """The network's outputs, by ONNX Runtime."""
        model = netdefs.to_onnx(self.network(dynamic)).SerializeToString()
        session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        feeds = {name: tensor.numpy() for name, tensor in self._used_inputs()}
        return session.run(None, feeds)

    def expected(self) -> list[np.ndarray]:
        """What PyTorch gives."""
        with torch.no_grad():
            return [each.numpy() for each in _leaves(self.module(*self.inputs.values()))]

    def _used_inputs(self) -> list[tuple[str, torch.Tensor]]:
        names = [value.hint for value in self.root.inputs]
        return [(name, self.inputs[name]) for name in names]


def check(module: torch.nn.Module, *inputs: torch.Tensor, tolerance: float = 1e-5, dynamic: bool = True) -> Executed:
    """Lowers a module, executes its statements and compares the values with PyTorch's."""
    executed = Executed(module, *inputs)
    for found, wanted in zip(executed.values(dynamic), executed.expected(), strict=True):
        assert found.shape == wanted.shape
        scale = max(1.0, float(np.abs(wanted.astype(np.float64)).max())) if wanted.size else 1.0
        np.testing.assert_allclose(found.astype(np.float64) / scale, wanted.astype(np.float64) / scale, atol=tolerance)
    return executed


def _leaves(structure: Any) -> list[Any]:
    if isinstance(structure, dict):
        structure = list(structure.values())
    if isinstance(structure, list | tuple):
        return [leaf for each in structure for leaf in _leaves(each)]
    return [] if structure is None else [structure]
