"""The weights that a PyTorch module computes with, where its state_dict holds what they are made of."""

from typing import Any

from netdefs.core.optional import require

MADE_OF = ("_g", "_v", "_orig", "_u")  # weight_norm and spectral_norm of older code: weight_g and weight_v make weight


def effective_state(module: Any) -> dict[str, Any]:
    """A module's state_dict; what is parametrized (weight_norm, spectral_norm, pruning ...) as the result of that.

    Values that are no tensors, as quantized modules have them, are left out.
    """
    torch = require("torch", "torch")
    state = {key: value for key, value in module.state_dict().items() if isinstance(value, torch.Tensor)}
    for name, inner in module.named_modules():
        path = f"{name}." if name else ""
        for part in getattr(inner, "parametrizations", {}):
            for key in [key for key in state if key.startswith(f"{path}parametrizations.{part}.")]:
                del state[key]
            state[f"{path}{part}"] = getattr(inner, part)
        for part in ("weight", "bias"):
            made_of = [f"{path}{part}{suffix}" for suffix in MADE_OF if f"{path}{part}{suffix}" in state]
            if made_of and isinstance(getattr(inner, part, None), torch.Tensor) and f"{path}{part}" not in state:
                for key in made_of:
                    del state[key]
                state[f"{path}{part}"] = getattr(inner, part).detach()
    return {key: value.detach() for key, value in state.items()}
