"""Optimizers with one dynamics in the hidden layers and another in the output layer."""

from __future__ import annotations

from typing import Any

from torch import nn

from thermolib import dynamics
from thermolib.dynamics.base import Integrator
from thermolib.optim.base import Dynamics, Params

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
    named = [(name, p) for name, p in module.named_parameters() if p.requires_grad]
    if not named:
        raise ValueError(f"module={type(module).__name__} is not allowed: it has no parameters to train")
    last = named[-1][0].rpartition(".")[0]
    output = [p for name, p in named if name.rpartition(".")[0] == last]
    hidden = [p for name, p in named if name.rpartition(".")[0] != last]
    if not hidden:
        raise ValueError(f"module={type(module).__name__} has one layer: its parameters do not make two groups")
    return [{"params": hidden}, {"params": output}]


class _InLayers(Dynamics):
    """Two groups of parameters, hidden and output, with the two dynamics of a partitioned integrator."""

    def __init__(self, params: Params, defaults: dict[str, Any]) -> None:
        groups: list[Any] = list(params)
        if len(groups) != 2 or not all(isinstance(group, dict) for group in groups):
            raise ValueError(
                f"params has {len(groups)} entries: it must be two groups, hidden and output, as "
                "thermolib.optim.layers(module) returns them"
            )
        super().__init__(groups, defaults)

    def _both(self, group: dict[str, Any]) -> dynamics.Partitioned:
        raise TypeError(f"{type(self).__name__} has no dynamics of its own")

    def _integrator(self, group: dict[str, Any], number: int) -> Integrator:
        both = self._both(group)
        if number > 1:
            raise ValueError("there are more than two groups of parameters: hidden and output are all there can be")
        part = both.parts[("hidden", "output")[number]]
        return part.with_values({"step_size": both.step_size})


class LangevinInLayers(_InLayers):
    r"""Langevin dynamics with its own friction and temperature in the output layer, as an optimizer.

    ============================  =================  ================
    symbol                        argument           unit
    ============================  =================  ================
    :math:`h`                     ``step_size``      time
    :math:`\gamma_1, \gamma_2`    ``friction``       1 / time
    :math:`\tau_1, \tau_2`        ``temperature``    loss
    ============================  =================  ================

    Parameters
    ----------
    params : two groups, hidden and output, for example :func:`layers` of a module.
    step_size, friction, temperature, word : as for :func:`thermolib.LangevinInLayers`.
    seed : of the noise, 0 to 2**32 - 1.

    Raises
    ------
    ValueError : as :class:`thermolib.Langevin`; params that are not two groups.

    Source: Leimkuhler, Matthews, Vlaar (2019), section 3.1.
    """

    def __init__(
        self,
        params: Params,
        step_size: float = 0.1,
        friction: tuple[float, float] = (1.0, 1.0),
        temperature: tuple[float, float] = (1e-4, 1e-4),
        word: str = "BAOAB",
        seed: int = 0,
    ) -> None:
        given = {"step_size": step_size, "friction": friction, "temperature": temperature, "word": word, "seed": seed}
        super().__init__(params, given)

    def _both(self, group: dict[str, Any]) -> dynamics.Partitioned:
        return dynamics.LangevinInLayers(group["lr"], group["friction"], group["temperature"], group["word"])


class LOL(_InLayers):
    r"""Langevin dynamics with its overdamped limit in the output layer, :func:`thermolib.LOL`, as an optimizer.

    ============================  =================  ================
    symbol                        argument           unit
    ============================  =================  ================
    :math:`h`                     ``step_size``      time
    :math:`\gamma_1`              ``friction``       1 / time
    :math:`\tau_1, \tau_2`        ``temperature``    loss
    ============================  =================  ================

    Parameters
    ----------
    params : two groups, hidden and output, for example :func:`layers` of a module.
    step_size, friction, temperature, word : as for :func:`thermolib.LOL`.
    seed : of the noise, 0 to 2**32 - 1.

    Raises
    ------
    ValueError : as :class:`thermolib.Langevin`; params that are not two groups.

    Source: Leimkuhler, Matthews, Vlaar (2019), section 3.2.
    """

    def __init__(
        self,
        params: Params,
        step_size: float = 0.1,
        friction: float = 0.01,
        temperature: float | tuple[float, float] = (1e-3, 0.0),
        word: str = "BAOAB",
        seed: int = 0,
    ) -> None:
        given = {"step_size": step_size, "friction": friction, "temperature": temperature, "word": word, "seed": seed}
        super().__init__(params, given)

    def _both(self, group: dict[str, Any]) -> dynamics.Partitioned:
        return dynamics.LOL(group["lr"], group["friction"], group["temperature"], group["word"])


class AdLaLa(_InLayers):
    r"""Adaptive Langevin and Langevin dynamics in layers, :func:`thermolib.AdLaLa`, as an optimizer.

    ============================  =================  ================================
    symbol                        argument           unit
    ============================  =================  ================================
    :math:`h`                     ``step_size``      time
    :math:`\tau_1, \tau_2`        ``temperature``    loss
    :math:`\gamma`                ``friction``       1 / time
    :math:`\sigma_A`              ``noise``          momentum / sqrt(time)
    :math:`\epsilon`              ``coupling``       convention "sde": 1 / momentum
    ============================  =================  ================================

    Parameters
    ----------
    params : two groups, hidden and output, for example :func:`layers` of a module.
    step_size, temperature, friction, noise, coupling, convention, thermostats, words : as for
        :func:`thermolib.AdLaLa`.
    seed : of the noise, 0 to 2**32 - 1.

    Raises
    ------
    ValueError : as :class:`thermolib.AdaptiveLangevin` and :class:`thermolib.Langevin`; params that are not two
        groups.

    Source: Leimkuhler, Matthews, Vlaar (2019), section 3.3, Eq. (15).
    """

    def __init__(
        self,
        params: Params,
        step_size: float = 0.15,
        temperature: float | tuple[float, float] = (1e-4, 1e-4),
        friction: float = 0.1,
        noise: float = 0.01,
        coupling: float = 0.1,
        convention: str = "sde",
        thermostats: str = "group",
        words: tuple[str, str] = ("BACDEDCAB", "BAOAB"),
        seed: int = 0,
    ) -> None:
        given: dict[str, Any] = {"step_size": step_size, "temperature": temperature, "friction": friction}
        given |= {"noise": noise, "coupling": coupling, "convention": convention, "thermostats": thermostats}
        super().__init__(params, given | {"words": words, "seed": seed})

    def _both(self, group: dict[str, Any]) -> dynamics.Partitioned:
        names = ("temperature", "friction", "noise", "coupling", "convention", "thermostats", "words")
        return dynamics.AdLaLa(group["lr"], **{name: group[name] for name in names})
