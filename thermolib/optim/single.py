"""Optimizers with one dynamics for all parameters."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from thermolib import dynamics
from thermolib.dynamics.base import Integrator
from thermolib.ground import checks, noise
from thermolib.optim.base import Dynamics, Params

__all__ = ["SGLD", "AdaptiveLangevin", "Langevin", "NoseHooverChain"]


class Langevin(Dynamics):
    r"""Langevin dynamics, :class:`thermolib.Langevin`, as an optimizer.

    ==================  =================  ====================================
    symbol              argument           unit
    ==================  =================  ====================================
    :math:`h`           ``step_size``      time
    :math:`\gamma`      ``friction``       1 / time
    :math:`\tau`        ``temperature``    loss
    ==================  =================  ====================================

    Parameters
    ----------
    params : parameters, or groups of them, each with hyperparameters of its own if wanted.
    step_size, friction, temperature, word : as for :class:`thermolib.Langevin`; a word with one force per step.
    seed : of the noise, 0 to 2**32 - 1.

    Raises
    ------
    ValueError : as :class:`thermolib.Langevin`.

    Source: Leimkuhler, Matthews, Vlaar (2019), sections 2.1 and 2.2.
    """

    def __init__(
        self,
        params: Params,
        step_size: float = 0.1,
        friction: float = 1.0,
        temperature: float = 0.0,
        word: str = "BAOAB",
        seed: int = 0,
    ) -> None:
        given = {"step_size": step_size, "friction": friction, "temperature": temperature, "word": word, "seed": seed}
        super().__init__(params, given)

    def _integrator(self, group: dict[str, Any], number: int) -> Integrator:
        return dynamics.Langevin(group["word"], group["lr"], group["friction"], group["temperature"])


class SGLD(Dynamics):
    r"""Stochastic gradient Langevin dynamics, :class:`thermolib.SGLD`, as an optimizer.

    ==================  =================  ====================================
    symbol              argument           unit
    ==================  =================  ====================================
    :math:`h`           ``step_size``      time
    :math:`\tau`        ``temperature``    loss
    ==================  =================  ====================================

    Parameters
    ----------
    params : parameters, or groups of them.
    step_size, temperature : as for :class:`thermolib.SGLD`.
    seed : of the noise, 0 to 2**32 - 1.

    Raises
    ------
    ValueError : as :class:`thermolib.SGLD`.

    Source: Leimkuhler, Matthews, Vlaar (2019), section 1.3, Eq. (4).
    """

    def __init__(self, params: Params, step_size: float = 0.1, temperature: float = 0.0, seed: int = 0) -> None:
        super().__init__(params, {"step_size": step_size, "temperature": temperature, "seed": seed})

    def _integrator(self, group: dict[str, Any], number: int) -> Integrator:
        return dynamics.SGLD(group["lr"], group["temperature"])


class AdaptiveLangevin(Dynamics):
    r"""Adaptive Langevin dynamics, :class:`thermolib.AdaptiveLangevin`, as an optimizer.

    ====================  =================  ====================================
    symbol                argument           unit
    ====================  =================  ====================================
    :math:`h`             ``step_size``      time
    :math:`\tau`          ``temperature``    loss
    :math:`\sigma_A`      ``noise``          momentum / sqrt(time)
    :math:`\epsilon`      ``coupling``       convention "sde": 1 / momentum
    ====================  =================  ====================================

    Parameters
    ----------
    params : parameters, or groups of them; each group, or each tensor, has a thermostat of its own.
    step_size, temperature, noise, coupling, convention, thermostats, word : as for
        :class:`thermolib.AdaptiveLangevin`; a word with one force per step.
    seed : of the noise, 0 to 2**32 - 1.

    Raises
    ------
    ValueError : as :class:`thermolib.AdaptiveLangevin`.

    Source: Leimkuhler, Matthews, Vlaar (2019), section 2.5.
    """

    def __init__(
        self,
        params: Params,
        step_size: float = 0.1,
        temperature: float = 1e-4,
        noise: float = 0.01,
        coupling: float = 0.1,
        convention: str = "sde",
        thermostats: str = "group",
        word: str = "BACDEDCAB",
        seed: int = 0,
    ) -> None:
        given = {"step_size": step_size, "temperature": temperature, "noise": noise, "coupling": coupling}
        super().__init__(
            params, given | {"convention": convention, "thermostats": thermostats, "word": word, "seed": seed}
        )

    def _integrator(self, group: dict[str, Any], number: int) -> Integrator:
        names = ("temperature", "noise", "coupling", "convention", "thermostats")
        return dynamics.AdaptiveLangevin(group["word"], group["lr"], **{name: group[name] for name in names})


class NoseHooverChain(Dynamics):
    r"""Nosé-Hoover chains, :class:`thermolib.NoseHooverChain`, as an optimizer: simmering.

    ====================  ==================  ====================================
    symbol                argument            unit
    ====================  ==================  ====================================
    :math:`h, \Delta t`   ``step_size``       time
    :math:`T`             ``temperature``     loss
    :math:`N_c`           ``chain_length``    none
    :math:`Q_k`           ``masses``          loss times time squared
    :math:`\Delta T`      ``increment``       loss
    ====================  ==================  ====================================

    A group has a chain of its own. Any other schedule of the temperature is a change of the group's entry
    ``temperature`` between steps.

    Parameters
    ----------
    params : parameters, or groups of them, each with hyperparameters of its own if wanted.
    step_size, temperature, chain_length, masses, increment, stair, thermostats, substeps : as for
        :class:`thermolib.NoseHooverChain`.
    velocities : "rest", or "maxwell" for velocities drawn from the law at ``temperature``.
    previous : the parameters as they were before the last step of another optimizer, in the order of ``params``. The
        velocities are then the differences over ``previous_lr``, Eq. (39).
    previous_lr : the learning rate of that optimizer; ``step_size`` if not given.
    seed : of the velocities, 0 to 2**32 - 1.

    Raises
    ------
    ValueError : as :class:`thermolib.NoseHooverChain`; previous parameters of another number or shape.

    Source: Babayan, Aliahmadi and van Anders (2024), Eqs. (30) to (39).
    """

    def __init__(
        self,
        params: Params,
        step_size: float = 0.002,
        temperature: float = 1e-3,
        chain_length: int = 2,
        masses: float | tuple[float, ...] = 1.0,
        increment: float = math.inf,
        stair: int = 1,
        thermostats: str = "group",
        substeps: int = 0,
        velocities: str = "rest",
        previous: Iterable[Tensor] | None = None,
        previous_lr: float | None = None,
        seed: int = 0,
    ) -> None:
        given: dict[str, Any] = {"step_size": step_size, "temperature": temperature, "chain_length": chain_length}
        given |= {"masses": masses, "increment": increment, "stair": stair, "thermostats": thermostats}
        super().__init__(params, given | {"substeps": substeps, "velocities": velocities, "seed": seed})
        if previous is None:
            return
        parameters, before = [p for group in self.param_groups for p in group["params"]], list(previous)
        if [p.shape for p in parameters] != [b.shape for b in before]:
            raise ValueError(f"previous has {len(before)} tensors: it must have one like each of the parameters")
        for p, b in zip(parameters, before, strict=True):
            wide = p.detach().double() - b.detach().double().to(p.device)
            kept = p.dtype if p.dtype == torch.float64 else torch.float32
            self.state[p]["p"] = (wide / (previous_lr or step_size)).to(kept)

    def _integrator(self, group: dict[str, Any], number: int) -> Integrator:
        checks.one_of("velocities", group["velocities"], ("rest", "maxwell"))
        names = ("temperature", "chain_length", "masses", "increment", "stair", "thermostats", "substeps")
        return dynamics.NoseHooverChain(group["lr"], **{name: group[name] for name in names})

    def _initial(self, integrator: Integrator, q: Tensor, group: dict[str, Any], number: int) -> Any:
        if group["velocities"] == "rest":
            return integrator.init(q)
        key = noise.key(group["seed"], torch.tensor([number]), device=q.device)
        drawn = math.sqrt(group["temperature"]) * key.normal(noise.INIT - 1, q.shape[1], q.dtype)
        return integrator.init(q)._replace(p=drawn)
