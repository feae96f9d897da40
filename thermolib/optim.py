r"""The integrators as optimizers, for any ``nn.Module`` and its own training loop.

``backward()`` has evaluated the gradient at the current parameters when an optimizer is asked to step, so every word
is rotated to begin with B: BAOAB runs as B A O A, with one gradient a step. Noise is a function of (seed, number of the
parameter, step, draw, index), so that it is the same on every device, and on every rank of DistributedDataParallel
without being sent.

Parameter groups, ``state_dict`` and learning-rate schedulers work as in PyTorch. The step size :math:`h` of a group is
its entry ``lr``; the other hyperparameters keep their names and may be changed between steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from thermolib import checks, integrators, noise
from thermolib.integrators.base import Integrator
from thermolib.integrators.momentum import cooled
from thermolib.integrators.partitioned import OneForce
from thermolib.monte_carlo_optimizer import AdaptiveMonteCarlo

__all__ = [
    "LOL",
    "SGLD",
    "AdLaLa",
    "AdaptiveLangevin",
    "AdaptiveMonteCarlo",
    "CoolMomentum",
    "Langevin",
    "LangevinInLayers",
    "NoseHooverChain",
    "layers",
]

Params = Iterable[Tensor] | Iterable[dict[str, Any]] | Iterable[tuple[str, Tensor]]


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


class _Wide(torch.optim.Optimizer):
    """An optimizer that steps parameters of a narrow type in single precision, and keeps that copy."""

    def _master(self, parameter: Tensor) -> Tensor:
        """The parameter in at least single precision: a narrow type would round small steps away."""
        if parameter.dtype in (torch.float32, torch.float64):
            return parameter
        kept = self.state[parameter].get("master")
        if kept is None or not torch.equal(kept.to(parameter.dtype), parameter):  # changed from outside
            return parameter.float()
        return kept

    def _store(self, parameter: Tensor, name: str, value: Tensor) -> None:
        if name != "q":
            self.state[parameter][name] = value.clone()
            return
        parameter.copy_(value)
        if parameter.dtype not in (torch.float32, torch.float64):
            self.state[parameter]["master"] = value.clone()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """As in PyTorch, but the state keeps its precision where the parameters are of a narrow type."""
        super().load_state_dict(state_dict)
        numbers = [i for group in state_dict["param_groups"] for i in group["params"]]
        parameters = [p for group in self.param_groups for p in group["params"]]
        for number, parameter in zip(numbers, parameters, strict=True):
            for name, value in state_dict["state"].get(number, {}).items():
                self.state[parameter][name] = value.to(parameter.device).clone()


class _Dynamics(_Wide):
    """An optimizer whose every step is one step of an integrator, group by group."""

    def __init__(self, params: Params, defaults: dict[str, Any]) -> None:
        super().__init__(params, self._renamed(defaults) | {"steps": 0})
        for number, group in enumerate(self.param_groups):
            self._integrator(group, number)  # refuses hyperparameters that are not allowed before any step

    @staticmethod
    def _renamed(group: dict[str, Any]) -> dict[str, Any]:
        return {"lr" if name == "step_size" else name: value for name, value in group.items()}

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        super().add_param_group(self._renamed(param_group))

    def _integrator(self, group: dict[str, Any], number: int) -> Integrator:
        """The dynamics of a group at its present hyperparameters."""
        raise TypeError(f"{type(self).__name__} has no dynamics of its own")

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step, with the gradients that ``backward`` has left; a parameter without a gradient stays as it is."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        first = 0
        for number, group in enumerate(self.param_groups):
            integrator = self._integrator(group, number)
            numbered = [(first + i, p) for i, p in enumerate(group["params"])]
            first += len(numbered)
            active = [(i, p) for i, p in numbered if p.grad is not None]
            together = getattr(integrator, "thermostats", "tensor") == "group"
            for block in [active] if together else [[pair] for pair in active]:
                if block:
                    self._step_block(integrator, block, group, numbered[0][1])
            group["steps"] += 1
        return loss

    def _initial(self, integrator: Integrator, q: Tensor, group: dict[str, Any], number: int) -> Any:
        """The state that parameters have before their first step."""
        return integrator.init(q)

    def _step_block(
        self, integrator: Integrator, block: list[tuple[int, Tensor]], group: dict[str, Any], keeper: Tensor
    ) -> None:
        """Step some parameters as one row of positions. A thermostat that they share is kept with ``keeper``."""
        parameters = [p for _, p in block]
        sizes = [p.numel() for p in parameters]
        q = torch.cat([self._master(p).reshape(1, -1) for p in parameters], 1)
        force = torch.cat([-p.grad.to(q.dtype).reshape(1, -1) for p in parameters if p.grad is not None], 1)
        if getattr(integrator, "thermostats", "group") == "tensor":
            integrator = integrator.bind({"": sum(sizes)})
        state = self._initial(integrator, q, group, block[0][0])
        for name, fresh in state._asdict().items():
            if name == "q":
                continue
            if fresh.shape == q.shape:
                first = fresh.split(sizes, 1)
                rows = [self.state[p].get(name, x).reshape(1, -1) for p, x in zip(parameters, first, strict=True)]
                state = state._replace(**{name: torch.cat(rows, 1)})
            else:
                owner = keeper if len(block) > 1 else parameters[0]
                state = state._replace(**{name: self.state[owner].get(name, fresh)})
        key = noise.key(group["seed"], torch.tensor([block[0][0]]), group["steps"], q.device)
        state = integrator.step(state, OneForce(type(integrator).__name__, q, force), key)
        for name, value in state._asdict().items():
            if value.shape == q.shape:
                for p, part in zip(parameters, value.split(sizes, 1), strict=True):
                    self._store(p, name, part.reshape(p.shape))
            else:
                self.state[keeper if len(block) > 1 else parameters[0]][name] = value


class Langevin(_Dynamics):
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
        return integrators.Langevin(group["word"], group["lr"], group["friction"], group["temperature"])


class SGLD(_Dynamics):
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
        return integrators.SGLD(group["lr"], group["temperature"])


class AdaptiveLangevin(_Dynamics):
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
        return integrators.AdaptiveLangevin(group["word"], group["lr"], **{name: group[name] for name in names})


class _InLayers(_Dynamics):
    """Two groups of parameters, hidden and output, with the two dynamics of a partitioned integrator."""

    def __init__(self, params: Params, defaults: dict[str, Any]) -> None:
        groups: list[Any] = list(params)
        if len(groups) != 2 or not all(isinstance(group, dict) for group in groups):
            raise ValueError(
                f"params has {len(groups)} entries: it must be two groups, hidden and output, as "
                "thermolib.optim.layers(module) returns them"
            )
        super().__init__(groups, defaults)

    def _both(self, group: dict[str, Any]) -> integrators.Partitioned:
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

    def _both(self, group: dict[str, Any]) -> integrators.Partitioned:
        return integrators.LangevinInLayers(group["lr"], group["friction"], group["temperature"], group["word"])


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

    def _both(self, group: dict[str, Any]) -> integrators.Partitioned:
        return integrators.LOL(group["lr"], group["friction"], group["temperature"], group["word"])


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

    def _both(self, group: dict[str, Any]) -> integrators.Partitioned:
        names = ("temperature", "friction", "noise", "coupling", "convention", "thermostats", "words")
        return integrators.AdLaLa(group["lr"], **{name: group[name] for name in names})


class NoseHooverChain(_Dynamics):
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
        return integrators.NoseHooverChain(group["lr"], **{name: group[name] for name in names})

    def _initial(self, integrator: Integrator, q: Tensor, group: dict[str, Any], number: int) -> Any:
        if group["velocities"] == "rest":
            return integrator.init(q)
        key = noise.key(group["seed"], torch.tensor([number]), device=q.device)
        drawn = math.sqrt(group["temperature"]) * key.normal(noise.INIT - 1, q.shape[1], q.dtype)
        return integrator.init(q)._replace(p=drawn)


class CoolMomentum(_Wide):
    r"""CoolMomentum, :class:`thermolib.CoolMomentum`, as an optimizer.

    .. math::

        \rho_n &= \max\left(0,\; 1 - (1-\rho_0)/\alpha^n\right), \qquad \alpha = (1-\rho_0)^{1/S} \\
        \Delta &\leftarrow \rho_n\,\Delta + \tfrac{1+\rho_n}{2}\,\mathrm{lr}\,\hat f, \qquad x \leftarrow x + \Delta

    ====================  =================  ====================================
    symbol                argument           unit
    ====================  =================  ====================================
    :math:`\mathrm{lr}`   ``lr``             time squared, :math:`\Delta t^2`
    :math:`\rho_0`        ``rho0``           none
    :math:`S`             ``steps``          steps
    ====================  =================  ====================================

    The arithmetic is done on all tensors of a group at once, as ``torch.optim.SGD`` does. The number of steps made is
    part of the ``state_dict``, so that a run resumes in the middle of its schedule; after ``steps`` of them
    :math:`\rho` stays zero. Its temperature is read by :class:`thermolib.observe.Thermometer`.

    Parameters
    ----------
    params : parameters, or groups of them, each with hyperparameters of its own if wanted.
    lr, rho0, steps, warmup, cooling : as for :class:`thermolib.CoolMomentum`.

    Raises
    ------
    ValueError : as :class:`thermolib.CoolMomentum`; no number of steps.

    Source: Borysenko and Byshkin (2021), section 4, Table 1.
    """

    def __init__(
        self,
        params: Params,
        lr: float = 0.01,
        rho0: float = 0.99,
        steps: float = math.nan,
        warmup: int = 0,
        cooling: str = "paper",
    ) -> None:
        given = {"lr": lr, "rho0": rho0, "steps": steps, "warmup": warmup, "cooling": cooling}
        super().__init__(params, given | {"made": 0})
        for group in self.param_groups:
            integrators.CoolMomentum(**{name: group[name] for name in given})  # refuses what is not allowed

    def momentum(self, group: dict[str, Any]) -> float:
        """The momentum coefficient of a group's next step."""
        if group["made"] < group["warmup"]:
            return 0.0
        rho0, share = (torch.tensor(x, dtype=torch.float64) for x in (group["rho0"], group["made"] / group["steps"]))
        return float(cooled(rho0, share, group["cooling"]))

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step, with the gradients that ``backward`` has left; a parameter without a gradient stays as it is."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            rho = self.momentum(group)
            group["made"] += 1
            parameters, wide, moves, gradients = [], [], [], []
            for p in group["params"]:
                if p.grad is None:
                    continue
                q, state = self._master(p), self.state[p]
                if "displacement" not in state:
                    state["displacement"] = torch.zeros_like(q)
                parameters.append(p)
                wide.append(q)
                moves.append(state["displacement"])
                gradients.append(p.grad if p is q else p.grad.to(q.dtype))
            if not parameters:
                continue
            torch._foreach_mul_(moves, rho)
            torch._foreach_add_(moves, gradients, alpha=-group["lr"] * (1 + rho) / 2)
            torch._foreach_add_(wide, moves)
            for p, q in zip(parameters, wide, strict=True):
                if p is not q:
                    self._store(p, "q", q)
        return loss
