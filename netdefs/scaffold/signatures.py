"""How the functions of a draft begin: with their arguments, types and docstrings."""

import inspect
from typing import Any

from netdefs.scaffold.program import REQUIRED, TENSOR, Fixed, Function, Raw, Value
from netdefs.scaffold.text import WIDTH, Text, fitted


def signature(function: Function, names: list[str], literals: Text) -> list[str]:
    """The lines of a function's `def`.

    Args:
        function: which.
        names: what its inputs are called.
        literals: writes the defaults of its parameters.
    """
    arguments = ["net: Network"]
    for name, value in zip(names, function.inputs, strict=True):
        arguments.append(f"{name}: {'Tensor' if value.kind == TENSOR else 'np.ndarray' if value.shape else 'int'}")
    for name, usual in function.parameters.items():
        kind = _type_of(function.examples.get(name, usual))
        kind = f"{kind} | None" if usual is None and kind != "Any" else kind
        arguments.append(f"{name}: {kind}{'' if usual is REQUIRED else f' = {literals.of(usual)}'}")
    kinds = ["Tensor" if value.kind == TENSOR else "np.ndarray" for value in function.outputs]
    gives = kinds[0] if len(kinds) == 1 else f"tuple[{', '.join(kinds)}]"
    return fitted(f"def {function.name}({', '.join(arguments)}) -> {gives}:", 0)


def docstring(function: Function) -> str:
    """A function's docstring: its class, and the shapes that it takes and gives if there is room for them."""
    kind = function.kind.__qualname__
    given, made = (
        ", ".join(letters(value) for value in values if value.kind == TENSOR)
        for values in (function.inputs, function.outputs)
    )
    line = f'    """`{kind}`: {given} -> {made}."""'
    return line if given and len(line) <= WIDTH else f'    """`{kind}`."""'


def input_names(function: Function) -> list[str]:
    """What a function's inputs are called: as those of the class's `forward`, where these can be told apart."""
    tensors = [value for value in function.inputs if value.kind == TENSOR]
    if len(function.inputs) == 1 and tensors:
        return ["x"]
    own = _forward_arguments(function.kind)
    names: list[str] = []
    for i, value in enumerate(function.inputs):
        if len(own) == len(function.inputs):
            name = own[i]
        elif len(own) == 1 and value.kind == TENSOR:  # a list of tensors
            name = f"{own[0]}{i}"
        else:
            name = "x" if value in tensors[:1] else value.hint
        name = "".join(sign if sign.isalnum() else "_" for sign in name).strip("_") or "y"
        name = name if name.isidentifier() and name not in ("net", *function.parameters) else f"{name}_in"
        word, number = name, 1
        while name in names:
            number += 1
            name = f"{word}_{number}"
        names.append(name)
    return names


def letters(value: Value) -> str:
    """A shape for a docstring: (N, C, H, W)."""
    rank = len(value.shape)
    return {4: "(N, C, H, W)", 3: "(N, L, C)", 2: "(N, C)"}.get(rank, f"rank {rank}")


def _forward_arguments(kind: type) -> list[str]:
    try:
        forward: Any = getattr(kind, "forward", None)
        return list(inspect.signature(forward).parameters)[1:]
    except (TypeError, ValueError):
        return []


def _type_of(value: Any) -> str:
    if isinstance(value, tuple):
        kinds = sorted({_type_of(each) for each in value})
        return f"tuple[{kinds[0]}, ...]" if len(kinds) == 1 else "tuple[Any, ...]"
    if value is None or value is REQUIRED or isinstance(value, Raw):
        return "Any"
    return "np.ndarray" if isinstance(value, Fixed) else type(value).__name__
