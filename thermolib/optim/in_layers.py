"""Optimizers with one dynamics in the hidden layers and another in the output layer."""

from __future__ import annotations

from typing import Any

from torch import nn

from thermolib import dynamics
from thermolib.optim.base import Dynamics
from thermolib.optim.contract import named

__all__ = ["LOL", "AdLaLa", "LangevinInLayers", "layers"]


def layers(module: nn.Module) -> list[dict[str, Any]]:
    """The parameters of a module as two groups, all but its last layer and its last layer.

    The last layer is the submodule that holds the last parameter; parameters that need no gradient are left out.

    Parameters
    ----------
    module : whose parameters they are, in the order of ``module.named_parameters()``.

    Returns
    -------
    list : hidden and output, as ``{"params": [...]}`` each, which is what the partitioned optimizers take.

    Raises
    ------
    ValueError : a module without parameters to train, or one whose last layer holds all of them.

    Source: Leimkuhler, Matthews, Vlaar (2019), section 3.
    """
    named(module)
    trained = [(name, p) for name, p in module.named_parameters() if p.requires_grad]
    if not trained:
        raise ValueError(f"module={type(module).__name__} is not allowed: it has no parameters to train")
    last = trained[-1][0].rpartition(".")[0]
    output = [p for name, p in trained if name.rpartition(".")[0] == last]
    hidden = [p for name, p in trained if name.rpartition(".")[0] != last]
    if not hidden:
        raise ValueError(f"module={type(module).__name__} has one layer: its parameters do not make two groups")
    return [{"params": hidden}, {"params": output}]


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
