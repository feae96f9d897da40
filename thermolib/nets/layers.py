"""The parameters of a module by name, and which of them its output layer holds."""

from __future__ import annotations

from torch import nn

__all__ = ["Sizes", "output_names"]


class Sizes(dict[str, int]):
    """Number of elements by name, and which names are the output layer's."""

    output: set[str]


def output_names(module: nn.Module, output: str | None = None) -> set[str]:
    """The parameters of the output layer, as ``module.named_parameters()`` names them, without those that need no
    gradient.

    ``output`` is its name; if not given, it is the layer that holds the last parameter, tied ones counted wherever they
    are. Raises ValueError for a module without parameters to train.
    """
    held = [(name, p) for name, p in module.named_parameters(remove_duplicate=False) if p.requires_grad]
    if not held:
        raise ValueError(f"module={type(module).__name__} is not allowed: it has no parameters to train")
    layer = held[-1][0].rpartition(".")[0] if output is None else output

    def within(name: str) -> bool:
        owner = name.rpartition(".")[0]
        return owner == layer or (output is not None and owner.startswith(f"{layer}."))

    last = {p for name, p in held if within(name)}
    return {name for name, p in module.named_parameters() if p in last}
