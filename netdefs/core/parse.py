"""`from_onnx`: an ONNX model as a `Network`, by way of NVIDIA's parser."""

import importlib.util
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from netdefs.core import parser_errors, torch_names
from netdefs.core.errors import FileError, NetworkError
from netdefs.core.network import Dimension, Network, dynamic_shape, tensors_of
from netdefs.core.scope import near
from netdefs.core.sniff import HEAD


def from_onnx(
    path: str | os.PathLike[str],
    *,
    input_shape: Sequence[Dimension] | Mapping[str, Sequence[Dimension]] | None = None,
    name: str | None = None,
    package: str | None = None,
) -> Network:
    """A network like any other, made of an ONNX model by NVIDIA's parser.

    Tensors keep their ONNX names. Where torch wrote down which module a tensor is the output of, `info["modules"]` has
    it; that takes the package onnx. The network is strongly typed: its precision is that of the model.

    Args:
        path: the model. Weights in a file beside it are not copied but mapped into memory: don't write into that file
            as long as the network is used.
        input_shape: sizes for dynamic dimensions, as `define_network` takes them: (N, C, H, W) where any may be a
            (min, opt, max) triple, which goes into the optimization profile. With several inputs: name -> shape. Inputs
            that are left out stay dynamic, which is enough for the CPU.
        name: the network's name; by default that of the file, without its suffix.
        package: "tensorrt" or "tensorrt_rtx"; by default the one that suits this machine.

    Raises:
        FileError: the file, or one with its weights, is missing or can't be read.
        NetworkError: it is not an ONNX model; TensorRT lacks operators of it, all of them named, or refuses a node; an
            input has no shape, or `input_shape` does not fit.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            head = file.read(HEAD)
    except FileNotFoundError as error:
        raise FileError(f"There is no file {path}.") from error
    except (OSError, ValueError) as error:
        raise FileError(f"Can't read {path}: {getattr(error, 'strerror', None) or error}.") from error
    model = _without_weights(path)
    if model is not None:
        _check_inputs(model, path)
    net = Network(name=name or path.stem, package=package)
    parser = net.trt.OnnxParser(net.definition, net.trt_log.bridge)
    net.keep.append(parser)  # it owns the weights
    net.trt_log.take()
    if not parser.parse_from_file(str(path)):
        raise parser_errors.explain(parser, net, path, head, model)
    if net.definition.num_outputs == 0 or (model is not None and not model.opset_import):
        raise parser_errors.no_model(path, head)  # the parser takes few or no bytes for an empty model

    net.definition.name = net.name
    net.names.update((tensor.name, str(path)) for tensor in tensors_of(net.definition))
    if input_shape is not None:
        _set_shapes(net, input_shape)
    net.precision = _precision(net)
    net.info.update(precision=net.precision, source=str(path))
    if model is not None:
        net.info["modules"] = torch_names.module_outputs(model)
        net.folded.update(torch_names.folded_convolutions(model))
    return net


def _without_weights(path: Path) -> Any | None:
    """The onnx.ModelProto, its weights left out; None without the package onnx, or if this is no such thing."""
    if importlib.util.find_spec("onnx") is None:
        return None
    import onnx

    try:
        model = onnx.ModelProto.FromString(path.read_bytes())
    except Exception:  # protobuf's DecodeError, whose home differs between versions
        return None
    # Protobuf frees memory only with the whole message: what is needed is copied, before the parser makes its own copy.
    kept = onnx.ModelProto(
        ir_version=model.ir_version,
        producer_name=model.producer_name,
        opset_import=model.opset_import,
        functions=model.functions,
    )
    kept.graph.node.extend(model.graph.node)
    weights = {tensor.name for tensor in model.graph.initializer}
    kept.graph.input.extend(value for value in model.graph.input if value.name not in weights)
    kept.graph.output.extend(model.graph.output)
    return kept


def _check_inputs(model: Any, path: Path) -> None:
    for value in model.graph.input:
        if value.type.HasField("tensor_type") and not value.type.tensor_type.HasField("shape"):
            raise NetworkError(
                f"{path} gives no shape for its input {value.name!r}, and TensorRT would take it for a single number. "
                "Export it again with at least the number of dimensions; open ones have names."
            )


def _set_shapes(net: Network, input_shape: Sequence[Dimension] | Mapping[str, Sequence[Dimension]]) -> None:
    """Gives dynamic dimensions of inputs a size or, for a (min, opt, max) triple, a range in the profile."""
    inputs = {tensor.name: tensor for tensor in map(net.definition.get_input, range(net.definition.num_inputs))}
    if not isinstance(input_shape, Mapping):
        if len(inputs) != 1:
            raise NetworkError(f"{net.name} has the inputs {', '.join(inputs)}: give input_shape as {{name: shape}}.")
        input_shape = dict.fromkeys(inputs, input_shape)
    for name, shape in input_shape.items():
        if name not in inputs:
            raise NetworkError(f"{net.name} has no input {name!r}, but {', '.join(inputs)}.{near(name, inputs)}")
        dims, ranges = dynamic_shape(name, shape)
        known = tuple(inputs[name].shape)
        if len(dims) != len(known) or any(n not in (-1, size) for n, size in zip(known, dims, strict=True)):
            raise NetworkError(
                f"input {name!r}: {shape} was asked for, but the model has {known}, where only a -1 can be chosen. "
                "Export it again with that dimension dynamic."
            )
        if dims != known:
            inputs[name].shape = dims
        if -1 in dims:
            net.profile[name] = ranges
    for tensor in tensors_of(net.definition):
        try:
            tuple(tensor.shape)
        except (RuntimeError, ValueError) as error:  # as in Scope.layer
            raise NetworkError(
                f"The inputs of {net.name} can't have the shapes {dict(input_shape)}: {tensor.name!r} would have none. "
                f"TensorRT: {net.trt_log.take()}"
            ) from error


def _precision(net: Network) -> str:
    """The lowest precision of any tensor."""
    types = {tensor.dtype for tensor in tensors_of(net.definition)}
    return "bf16" if net.trt.bfloat16 in types else "fp16" if net.trt.float16 in types else "fp32"
