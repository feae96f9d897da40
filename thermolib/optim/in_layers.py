"""Optimizers with one dynamics in the hidden layers and another in the output layer."""

from __future__ import annotations

from typing import Any

from torch import nn

from thermolib import dynamics
from thermolib.nets.layers import output_names
from thermolib.optim.base import Dynamics
from thermolib.optim.contract import named

__all__ = ["LOL", "AdLaLa", "LangevinInLayers", "layers"]


def layers(module: nn.Module, output: str | None = None) -> list[dict[str, Any]]:
    """The parameters of a module as two groups, all but its output layer and its output layer.

    Parameters that need no gradient are left out. A tied parameter, which several layers hold, belongs to the output
    if the output layer is one of them.

    Parameters
    ----------
    module : whose parameters they are, in the order of ``module.named_parameters()``.
    output : the name of the output layer, as in ``module.named_modules()``; if not given, the layer that holds the
        last parameter, tied ones counted wherever they are.

    Returns
    -------
    list : hidden and output, which is what the partitioned optimizers take, as ``{"params": [...], "param_names":
        [...]}`` each: the names say which layer was taken.

    Raises
    ------
    ValueError : a module without parameters to train, an output that holds none or all of them.

    Source: Leimkuhler, Matthews, Vlaar (2019), section 3.
    """
    named(module)
    last = output_names(module, output)
    groups: list[dict[str, Any]] = [{"params": [], "param_names": []} for _ in range(2)]
    for name, p in module.named_parameters():
        if p.requires_grad:
            groups[name in last]["params"].append(p)
            groups[name in last]["param_names"].append(name)
    if not all(group["params"] for group in groups):
        found = "all" if last else "none"
        raise ValueError(f"output={output!r} holds {found} of the parameters: they do not make two groups")
    return groups


class LangevinInLayers(Dynamics, law=dynamics.LangevinInLayers):
    """Langevin dynamics with its own friction and temperature in the output layer, as an optimizer.

    ``params`` are two groups, hidden and output, for example :func:`layers` of a module, or named parameters.
    """


class LOL(Dynamics, law=dynamics.LOL):
    """Langevin dynamics with its overdamped limit in the output layer, :func:`thermolib.LOL`, as an optimizer.

    ``params`` are two groups, hidden and output, for example :func:`layers` of a module, or named parameters.
    """


class AdLaLa(Dynamics, law=dynamics.AdLaLa):
    """Adaptive Langevin and Langevin dynamics in layers, :func:`thermolib.AdLaLa`, as an optimizer.

    ``params`` are two groups, hidden and output, for example :func:`layers` of a module, or named parameters.
    """
