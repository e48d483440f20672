"""The file of a draft, as the modules of the zoo are: docstring, imports, VARIANTS, define, functions, model."""

import dataclasses
import inspect
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from netdefs.core.preprocess import IMAGENET, Preprocess
from netdefs.scaffold.capture import Captured
from netdefs.scaffold.constants import Constants
from netdefs.scaffold.program import REQUIRED, TENSOR, Arg, Call, Cond, Fixed, Function, Loop, Raw, Unit, Value
from netdefs.scaffold.statements import Lines
from netdefs.scaffold.text import WIDTH, Text, fitted
from netdefs.scaffold.units import Gap


@dataclasses.dataclass
class Variant:
    """A variant that was traced."""

    name: str
    module: Any
    captured: Captured
    root: Unit
    gaps: list[Gap]
    unused: list[str]  # patterns of weights that nothing is computed from
    inner: set[str]  # what layers are called inside of modules of their own, whose weights they have


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, break_long_words=False, break_on_hyphens=False)


class ModuleFile:
    """Writes the file."""

    def __init__(
        self,
        variants: Sequence[Variant],
        functions: Sequence[Function],
        root: Function,
        arguments: Sequence[Mapping[str, Arg]],
        inputs: Mapping[str, Any],
        source: str,
        preprocess: Mapping[str, Preprocess],
    ) -> None:
        self.preprocess = preprocess
        self.variants, self.root, self.arguments, self.inputs, self.source = variants, root, arguments, inputs, source
        self.functions = _called(root, functions)
        self.constants = Constants()
        self.used: set[str] = set()

    def text(self) -> str:
        """All of it."""
        others = [line for function in self.functions for line in ["", "", *self._function(function)]]
        define = self._define(others)
        body = [*self._variants(), "", "", *define, *others, "", "", *self._model()]
        lines = [*self._docstring(), "", *self._imports(body), "", *body]
        return "\n".join(lines) + "\n"

    # Its parts.

    def _docstring(self) -> list[str]:
        first = self.variants[0]
        kind = type(first.module)
        size = " x ".join(map(str, next(iter(self.inputs.values())).shape[2:]))
        origin = f"{kind.__module__}.{kind.__qualname__}"
        lines = [f'"""{kind.__name__}, from a draft of `netdefs scaffold`: TODO what it is, and for what.', ""]
        lines += [*_wrapped(f"Upstream: {origin}{f' ({self.source})' if self.source else ''}; TODO its licence."), ""]
        shape = self._shape(next(iter(self.inputs.values())).shape)
        lines += _wrapped(f"Input: {shape}{f'; {size} by default' if size else ''}. {self._returns()}")
        return [*lines, '"""']

    def _shape(self, shape: Sequence[int]) -> str:
        if len(shape) == 4:
            return f"(N, {shape[1]}, H, W)"
        return "(N, " + ", ".join(map(str, shape[1:])) + ")"

    def _returns(self) -> str:
        outputs = self._outputs()
        texts = [f"`{name}` {_letters(value, self.variants[0].captured)}" for name, value in outputs]
        return f"{'Output' if len(texts) == 1 else 'Outputs'}: {', '.join(texts)}."

    def _imports(self, body: Sequence[str]) -> list[str]:
        text = "\n".join(body)
        groups = []
        standard = []
        if self.constants.arrays:
            standard.append("from pathlib import Path")
        standard.append("from typing import Any")
        groups.append(standard)
        if self.constants.numpy or self.constants.arrays:
            groups.append(["import numpy as np"])
        own: dict[str, set[str]] = {
            "netdefs.core.network": {"Network"},
            "netdefs.core.preprocess": {"Decode", "IMAGENET" if "=IMAGENET" in text else "Preprocess"},
            "netdefs.core.scope": {"Tensor"},
            "netdefs.core.zoo": {"Model", *(["config_of"] if "config_of(" in text else [])},
        }
        for used in self.used | self.constants.used:
            module, _, name = used.rpartition(".")
            own.setdefault(f"netdefs.core.{module}", set()).add(name)
        lines = []
        for module in sorted(own):
            lines += fitted_import(module, own[module])
        groups.append(lines)
        return [line for group in groups for line in [*group, ""]][:-1]

    def _variants(self) -> list[str]:
        text = Text({}, {}, {}, self.constants.text)
        lines = ["VARIANTS: dict[str, dict[str, Any]] = {"]
        for each, given in zip(self.variants, self.arguments, strict=True):
            pairs = ", ".join(f'"{key}": {text.of(value)}' for key, value in given.items())
            lines += fitted(f'"{each.name}": {{{pairs}}},', 4)
        if len(lines) == 2 and len(lines[0]) + len(lines[1].strip()) < 120:
            lines = [f"{lines[0]}{lines[1].strip().rstrip(',')}}}"]
        else:
            lines.append("}")
        if self.constants.arrays:
            lines.append('ARRAYS = np.load(Path(__file__).with_suffix(".npz"))  # constants of the module\'s')
        return lines

    def _outputs(self) -> list[tuple[str, Value]]:
        """The names of the outputs, and their values."""
        values = iter(self.root.outputs)
        names = list(_output_names(self.variants[0].captured.outputs))
        found = dict(zip(_unique(names), values, strict=False))
        if len(found) == 1 and names == [""]:
            (value,) = found.values()
            return [("logits" if len(value.shape) == 2 else "output", value)]
        return list(found.items())

    def _define(self, others: Sequence[str]) -> list[str]:
        root, first = self.root, self.variants[0].name
        classes = self._class_count()
        arguments = [f'variant: str = "{first}"', *(["num_classes: int | None = None"] if classes else [])]
        outputs = self._outputs()
        gives = "Tensor" if len(outputs) == 1 else "dict[str, Tensor]"
        lines = fitted(f"def define(net: Network, x: Tensor, {', '.join(arguments)}) -> {gives}:", 0)
        if len(lines) == 1 and len(lines[0]) > 120:
            lines = lines[:1]
        lines += [
            f'    """Adds a {type(self.variants[0].module).__name__} to `net` and returns its '
            f"{'`' + outputs[0][0] + '`' if len(outputs) == 1 else 'outputs'}.",
            "",
            "    Args:",
            "        net: the place in a network where its modules are.",
            f"        x: {self._shape(next(iter(self.inputs.values())).shape)}.",
            "        variant: one of `VARIANTS`.",
        ]
        if classes:
            lines.append("        num_classes: read off the weights when None.")
        lines.append('    """')
        if root.parameters:
            lines.append("    config = config_of(VARIANTS, variant)")
            for name in root.parameters:
                lines.append(f'    {name} = config["{name}"]')
        unused = list(dict.fromkeys(pattern for each in self.variants for pattern in each.unused))
        if len(unused) == 1:
            lines.append(f'    net.ignore("{unused[0]}")  # nothing is computed from it')
        elif unused:
            text = Text({}, {}, {}, self.constants.text)
            lines += fitted(f"for unused in {text.of(tuple(unused))}:  # nothing is computed from these", 4)
            lines.append("        net.ignore(unused)")
        names = ["x", *list(self.inputs)[1:]]
        for name, tensor in list(self.inputs.items())[1:]:
            shape = (-1, *tensor.shape[1:])
            dtype = str(tensor.dtype).removeprefix("torch.")
            if dtype == "float32":
                lines.append(f'    {name} = net.input("{name}", {shape})')
            else:
                labels = tuple("" for _ in shape)
                lines.append(f'    {name} = net.raw_input("{name}", {shape}, net.trt.{dtype}, {labels})')
        given = dict(zip(self._root_inputs(), names, strict=False))
        reserved = [each.name for each in self.functions]
        writer = Lines(root, [given.get(value, value.hint) for value in root.inputs], self.constants, reserved)
        body = writer.write(final=False)
        self._took(writer)
        for word in sorted({word for each in self.variants for word in each.inner}):
            if any(f'{word}"' in line for line in [*others, *body]):  # else a block has taken its place
                lines.append(f'    net.inner("{word}")  # its weights are those of the module around it')
        lines += body
        texts = [f'net.output({writer.names[value]}, "{name}")' for name, value in outputs]
        if len(outputs) == 1:
            return [*lines, *fitted(f"return {texts[0]}", 4)]
        pairs = ", ".join(f'"{name}": {text}' for (name, _), text in zip(outputs, texts, strict=True))
        return [*lines, *fitted(f"return {{{pairs}}}", 4)]

    def _root_inputs(self) -> list[Value]:
        order = list(self.inputs)
        return sorted(self.root.inputs, key=lambda value: order.index(value.hint) if value.hint in order else 0)

    def _class_count(self) -> bool:
        """Reads the number of classes off the last linear layer, if that is what the network ends with."""
        body, outputs = self.root.body, self.root.outputs
        last = body[-1] if body else None
        if len(outputs) != 1 or not isinstance(last, Call) or last.function != "linear" or "bias" in last.options:
            return False
        count = last.options["out_features"]
        if last.results != outputs or not isinstance(count, int) or last.path is None:
            return False
        key = ".".join(last.path)
        last.options["out_features"] = Raw(f'net.class_count(num_classes, "{key}.bias", default={count})')
        return True

    def _function(self, function: Function) -> list[str]:
        names = self._input_names(function)
        text = Text({}, {}, {}, self.constants.text)
        arguments = ["net: Network"]
        for name, value in zip(names, function.inputs, strict=True):
            arguments.append(f"{name}: {'Tensor' if value.kind == TENSOR else 'np.ndarray' if value.shape else 'int'}")
            self.constants.numpy |= value.kind != TENSOR and bool(value.shape)
        for name, usual in function.parameters.items():
            kind = _type_of(name, function, usual)
            self.constants.numpy |= "np." in kind
            arguments.append(f"{name}: {kind}" + ("" if usual is REQUIRED else f" = {text.of(usual)}"))
        count = len(function.outputs)
        kinds = ["Tensor" if value.kind == TENSOR else "np.ndarray" for value in function.outputs]
        gives = kinds[0] if count == 1 else f"tuple[{', '.join(kinds)}]"
        lines = fitted(f"def {function.name}({', '.join(arguments)}) -> {gives}:", 0)
        shapes = ", ".join(
            _letters(value, self.variants[0].captured) for value in function.inputs if value.kind == TENSOR
        )
        made = ", ".join(
            _letters(value, self.variants[0].captured) for value in function.outputs if value.kind == TENSOR
        )
        doc = (
            f'"""`{function.kind.__qualname__}`: {shapes} -> {made}."""'
            if shapes
            else f'"""`{function.kind.__qualname__}`."""'
        )
        if len(doc) + 4 > 120:
            doc = f'"""`{function.kind.__qualname__}`."""'
        lines.append(f"    {doc}")
        writer = Lines(function, names, self.constants, [each.name for each in self.functions])
        lines += writer.write()
        self._took(writer)
        return lines

    def _took(self, writer: Lines) -> None:
        self.used |= writer.used

    def _input_names(self, function: Function) -> list[str]:
        tensors = [value for value in function.inputs if value.kind == TENSOR]
        if len(function.inputs) == 1 and tensors:
            return ["x"]
        try:
            forward: Any = getattr(function.kind, "forward", None)
            own = [p.name for p in inspect.signature(forward).parameters.values()][1:]
        except (TypeError, ValueError):
            own = []
        names: list[str] = []
        for i, value in enumerate(function.inputs):
            if len(own) == len(function.inputs):
                name = own[i]
            elif len(own) == 1 and value.kind == TENSOR:  # a list of tensors
                name = f"{own[0]}{i}"
            else:
                name = "x" if value is tensors[0] else value.hint
            name = "".join(sign if sign.isalnum() else "_" for sign in name).strip("_") or "y"
            name = name if name.isidentifier() and name not in ("net", *function.parameters) else f"{name}_in"
            word, number = name, 1
            while name in names:
                number += 1
                name = f"{word}_{number}"
            names.append(name)
        return names

    def _preprocess(self, shape: Sequence[int]) -> str:
        known = next(iter(self.preprocess.values()), IMAGENET)
        if len(shape) == 4 and shape[1] == 1 and not self.preprocess:
            known = Preprocess("GRAY", mean=(0.0,), std=(1.0,))
        if known == IMAGENET:
            return "IMAGENET"
        text = Text({}, {}, {}, self.constants.text)
        usual = Preprocess("", (), ())
        given = dataclasses.asdict(known)
        options = [
            f"{key}={text.of(given[key])}" for key in given if given[key] != getattr(usual, key) and key != "color"
        ]
        return f"Preprocess({text.of(known.color)}, {', '.join(options)})"

    def _model(self) -> list[str]:
        shape = tuple(next(iter(self.inputs.values())).shape)
        options = f"input_shape={(1, *shape[1:])}"
        outputs = self._outputs()
        classes = len(shape) == 4 and shape[1] == 3 and len(outputs) == 1 and len(outputs[0][1].shape) == 2
        preprocess = self._preprocess(shape)
        decode = 'Decode("classes")' if classes else 'Decode("unknown")'
        line = f"model = Model(__name__, define, VARIANTS, {options}, preprocess={preprocess}, decode={decode})"
        return [*fitted(line, 0), "define_network, build_engine = model.define_network, model.build_engine"]


def fitted_import(module: str, names: set[str]) -> list[str]:
    """An import of names, in several lines where it is too long for one."""
    listed = sorted(names, key=lambda name: (not name.isupper(), not name[0].isupper(), name))
    line = f"from {module} import {', '.join(listed)}"
    if len(line) <= 120:
        return [line]
    return [f"from {module} import (", *(f"    {name}," for name in listed), ")"]


def _called(root: Function, functions: Sequence[Function]) -> list[Function]:
    """Functions in the order in which they are first called, from the root on."""
    found: dict[int, Function] = {}

    def visit(body: Sequence[Any]) -> Iterator[Function]:
        for item in body:
            if isinstance(item, Call):
                for each in [item.function, *item.options.values()]:
                    if isinstance(each, Function):
                        yield each
            elif isinstance(item, Loop | Cond):
                yield from visit(item.body)

    waiting = [root]
    while waiting:
        following = []
        for function in waiting:
            for each in visit(function.body):
                if id(each) not in found:
                    found[id(each)] = each
                    following.append(each)
        waiting = following
    return list(found.values())


def _output_names(structure: Any) -> Iterator[str]:
    """What the outputs are called, by their places in what the module returns."""

    def below(each: Any, path: tuple[str, ...]) -> Iterator[str]:
        if isinstance(each, Mapping):
            for key, value in each.items():
                yield from below(value, (*path, str(key)))
        elif isinstance(each, list | tuple):
            for i, value in enumerate(each):
                yield from below(value, (*path, str(i)))
        elif each is not None:
            yield "_".join(path)

    found = list(below(structure, ()))
    yield from (name if not name or not name[0].isdigit() else f"output_{name}" for name in found)


def _unique(names: Sequence[str]) -> list[str]:
    return [name or "output" for name in names]


def _letters(value: Value, captured: Captured) -> str:
    """A shape for a docstring: (N, C, H, W)."""
    rank = len(value.shape)
    if rank == 4 and not isinstance(value.shape[2], int):
        return "(N, C, H, W)"
    names = {4: "(N, C, H, W)", 3: "(N, L, C)", 2: "(N, C)"}
    return names.get(rank, f"rank {rank}")


def _type_of(name: str, function: Function, usual: Arg) -> str:
    """The type of an argument, from a value of it."""
    value = function.examples.get(name, usual)
    return _kind(value)


def _kind(value: Any) -> str:
    if isinstance(value, tuple):
        kinds = sorted({_kind(each) for each in value})
        return f"tuple[{kinds[0]}, ...]" if len(kinds) == 1 else "tuple[Any, ...]"
    if value is None or value is REQUIRED:
        return "Any"
    if isinstance(value, Fixed):
        return "np.ndarray"
    if isinstance(value, Raw):
        return "Any"
    return type(value).__name__
