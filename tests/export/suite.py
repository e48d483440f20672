"""ONNX's own backend tests, as a witness that is not the exporter.

NVIDIA's parser turns a test's model into a TensorRT network, the exporter turns that back into ONNX, and ONNX Runtime
must give what the test expects, within the test's own tolerance.

Models that hold bfloat16 are run by ONNX's reference evaluator, since ONNX Runtime has no such kernels on the CPU. It
also made the expected values, so it shows to the bit whether the exported operators are the same ones.
"""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from netdefs.core.errors import ExportError
from netdefs.engine.emulate import emulate
from netdefs.export import to_onnx
from tests.export.nets import Net, check, session, trt

DATA = Path(onnx.__file__).parent / "backend" / "test" / "data"

# Types that numpy arrays can't carry to and from ONNX Runtime: the model is given Casts at its ends.
EXOTIC = {TensorProto.FLOAT8E4M3FN, TensorProto.INT4, TensorProto.FLOAT4E2M1}


@dataclass
class Case:
    """One model with inputs and expected outputs."""

    name: str
    model: onnx.ModelProto
    data: list[tuple[list[Any], list[Any]]]
    rtol: float = 1e-3
    atol: float = 1e-7


def node_cases() -> list[Case]:
    """The tests of single operators, about 1,900."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # making some expected values divides by zero
        from onnx.backend.test.case.node import collect_testcases

        return [Case(c.name, c.model, c.data_sets, c.rtol, c.atol) for c in collect_testcases(None)]


def file_cases(kind: str) -> list[Case]:
    """The tests that come as files: "simple", "pytorch-operator", "pytorch-converted"."""
    cases = []
    for folder in sorted((DATA / kind).iterdir()):
        if not (folder / "model.onnx").exists():
            continue
        data = []
        for values in sorted(folder.glob("test_data_set_*")):
            count = {what: len(list(values.glob(f"{what}_*.pb"))) for what in ("input", "output")}
            data.append(
                tuple([tensor(values / f"{what}_{i}.pb") for i in range(count[what])] for what in ("input", "output"))
            )
        cases.append(Case(folder.name, onnx.load(folder / "model.onnx"), data))
    return cases


def light_cases() -> list[str]:
    """Whole classification networks with made-up weights, by name: some are large, so they are loaded one by one."""
    return sorted(path.stem for path in (DATA / "light").glob("*.onnx"))


def light_case(name: str) -> Case:
    model = onnx.load(DATA / "light" / f"{name}.onnx")
    weights = {each.name for each in model.graph.initializer}
    inputs = []
    for info in model.graph.input:
        if info.name not in weights:
            shape = [dim.dim_value or 1 for dim in info.type.tensor_type.shape.dim]
            inputs.append((np.arange(np.prod(shape)).reshape(shape) / np.prod(shape)).astype(np.float32))
    return Case(name, model, [(inputs, [tensor(DATA / "light" / f"{name}_output_0.pb")])])


def tensor(path: Path) -> Any:
    """A stored tensor; None for sequences and optionals, which TensorRT does not have."""
    proto = TensorProto()
    try:
        proto.ParseFromString(path.read_bytes())
        return numpy_helper.to_array(proto)
    except Exception:
        return None


def parse(model: onnx.ModelProto) -> tuple[Net | None, Any]:
    """The network that NVIDIA's parser makes, None if it refuses, and the parser, which must outlive the network."""
    net = Net()
    parser = trt.OnnxParser(net.definition, net.log.bridge)
    # Without this, it reads uint8 as int8.
    parser.set_flag(trt.OnnxParserFlag.ENABLE_UINT8_AND_ASYMMETRIC_QUANTIZATION_DLA)
    accepted = parser.parse(model.SerializeToString())
    return (net if accepted else None), parser


def outcome(case: Case, emulated: bool = False) -> str:
    """What became of a case: "passed", "refused" (by the parser), or what is wrong, in one line.

    With `emulated`, bfloat16 is run as the CPU engine runs it, and may be off by two units in the last place.
    """
    net, _parser = parse(case.model)
    if net is None:
        return "refused"
    try:
        model = to_onnx(net.definition)
    except ExportError as error:
        return f"export: {error}"
    try:
        check(model)
        runner = ReferenceRunner(model) if holds_bfloat16(model) and not emulated else SessionRunner(model)
    except Exception as error:
        return f"load: {error}".splitlines()[0]
    rtol = max(case.rtol, 2**-6) if emulated else case.rtol
    for inputs, expected in case.data:
        try:
            found = runner.run(feeds(net, runner.model, case, inputs))
        except Exception as error:
            return f"run: {error}".splitlines()[0]
        for info, value in zip(case.model.graph.output, expected, strict=True):
            if problem := compare(found[info.name], value, rtol, case.atol):
                return problem
    return "passed"


class SessionRunner:
    """A model run by ONNX Runtime."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = runnable(model)
        self.session = session(self.model)

    def run(self, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        names = [each.name for each in self.session.get_outputs()]
        return dict(zip(names, self.session.run(names, feeds), strict=True))


class ReferenceRunner:
    """A model run by ONNX's reference evaluator: numpy, each node's result rounded to its type."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = model
        self.evaluator = ReferenceEvaluator(model)

    def run(self, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        with np.errstate(invalid="ignore"):  # the softmax of a row that may see nothing
            return dict(zip(self.evaluator.output_names, self.evaluator.run(None, feeds), strict=True))


def feeds(net: Net, model: onnx.ModelProto, case: Case, inputs: list[Any]) -> dict[str, np.ndarray]:
    """The case's inputs in the types of the model's: double becomes float, for instance."""
    weights = {each.name for each in case.model.graph.initializer}
    names = [info.name for info in case.model.graph.input if info.name not in weights]
    made = [net.definition.get_input(i).name for i in range(net.definition.num_inputs)]
    if len(made) == len(names):
        names = made  # the parser renames the inputs of a loop's body that are the model's own
    given = dict(zip(names, inputs, strict=False))
    types = {info.name: helper.tensor_dtype_to_np_dtype(info.type.tensor_type.elem_type) for info in model.graph.input}
    return {name: array(given[name]).astype(kind) for name, kind in types.items() if name in given}


def array(value: Any) -> np.ndarray:
    return numpy_helper.to_array(value) if isinstance(value, TensorProto) else np.asarray(value)


def compare(found: np.ndarray, expected: Any, rtol: float, atol: float) -> str:
    """What differs, or nothing."""
    expected = array(expected)
    if found.shape != expected.shape:
        return f"shape: {found.shape}, expected {expected.shape}"
    try:
        np.testing.assert_allclose(found.astype(np.float64), expected.astype(np.float64), rtol=rtol, atol=atol)
    except AssertionError as error:
        return f"values: {' '.join(str(error).split())[:150]}"
    return ""


def holds_bfloat16(model: onnx.ModelProto) -> bool:
    """True if a tensor of the model is of bfloat16."""
    tensors = [*model.graph.input, *model.graph.output, *model.graph.value_info]
    types = {info.type.tensor_type.elem_type for info in tensors} | {each.data_type for each in model.graph.initializer}
    return TensorProto.BFLOAT16 in types


def runnable(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model as ONNX Runtime and numpy can take it: bfloat16 emulated, exotic types cast at both ends."""
    if holds_bfloat16(model):
        model = emulate(model)
    for info in (*model.graph.input, *model.graph.output):
        kind = info.type.tensor_type
        if kind.elem_type not in EXOTIC:
            continue
        inner, given = f"{info.name}/exotic", info in model.graph.input
        for node in model.graph.node:
            for names in (node.input, node.output):
                for i, name in enumerate(names):
                    names[i] = inner if name == info.name else name
        for each in model.graph.initializer:
            each.name = inner if each.name == info.name else each.name
        ends = [info.name, inner] if given else [inner, info.name]
        node = helper.make_node("Cast", ends[:1], ends[1:], to=kind.elem_type if given else TensorProto.FLOAT)
        model.graph.node.insert(0 if given else len(model.graph.node), node)
        kind.elem_type = TensorProto.FLOAT
    return model
