"""Nosé-Hoover chains: a deterministic thermostat, the dynamics of simmering."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from thermolib.dynamics.base import Potential, Thermostatted, Value, two_names
from thermolib.ground import checks, noise
from thermolib.ground.noise import Key

__all__ = ["SUZUKI_YOSHIDA", "ChainState", "NoseHooverChain", "maxwell"]


def _suzuki(substeps: int, order: int) -> tuple[float, ...]:
    """Weights that raise a symmetric map of an order by two: all but the one in the middle are equal."""
    w = 1 / (substeps - 1 - (substeps - 1) ** (1 / (order + 1)))
    half = (w,) * ((substeps - 1) // 2)
    return (*half, 1 - (substeps - 1) * w, *half)


#: Weights of the symmetric compositions of Suzuki and Yoshida: they add up to 1, and their cubes to 0.
SUZUKI_YOSHIDA: dict[int, tuple[float, ...]] = {
    1: (1.0,),
    3: _suzuki(3, 2),
    5: _suzuki(5, 2),
    7: (
        0.784513610477560,
        0.235573213359357,
        -1.17767998417887,
        1.315186320683906,
        -1.17767998417887,
        0.235573213359357,
        0.784513610477560,
    ),
}


class ChainState(NamedTuple):
    """Positions and velocities ``[R, P]``, and the links' positions and velocities ``[R, K, M]``: K chains of M."""

    q: Tensor
    p: Tensor
    s: Tensor
    vs: Tensor


def maxwell(q: Tensor, temperature: Value, seed: int = 0) -> Tensor:
    r"""Velocities from :math:`N(0, T)` for positions ``[R, P]``: the equilibrium law of unit masses.

    Raises
    ------
    ValueError : a negative temperature, a seed out of range.
    """
    checks.at_least("temperature", temperature)
    spread = torch.sqrt(torch.as_tensor(temperature, dtype=q.dtype, device=q.device)).reshape(-1, 1)
    return spread * noise.key(seed, q.shape[0], device=q.device).normal(noise.INIT - 1, q.shape[1], q.dtype)


@two_names
@dataclass(frozen=True)
class NoseHooverChain(Thermostatted):
    r"""Dynamics at constant temperature by a chain of thermostats, each of which controls the one before it.

    .. math::

        \dot x &= v, \qquad \dot v = G(x) - v_{s_1} v, \qquad G = -\nabla L \\
        \dot s_k &= v_{s_k}, \qquad \dot v_{s_k} = a_{s_k} - v_{s_{k+1}} v_{s_k}
        \quad (\text{no last term for } k = N_c) \\
        a_{s_1} &= (|v|^2 - N T)/Q_1, \qquad a_{s_k} = (Q_{k-1} v_{s_{k-1}}^2 - T)/Q_k

    in the steps

    .. math::

        x &\leftarrow x + \tfrac h2 v, \quad s_{2k} \leftarrow s_{2k} + \tfrac h2 v_{s_{2k}}, \quad
        v_{s_{2k-1}} \leftarrow D_{h/2}(v_{s_{2k-1}}) \\
        v &\leftarrow v e^{-h v_{s_1}} + h\,G(x) e^{-h v_{s_1}/2}, \quad
        s_{2k-1} \leftarrow s_{2k-1} + h v_{s_{2k-1}}, \quad v_{s_{2k}} \leftarrow D_h(v_{s_{2k}}) \\
        x &\leftarrow x + \tfrac h2 v, \quad s_{2k} \leftarrow s_{2k} + \tfrac h2 v_{s_{2k}}, \quad
        v_{s_{2k-1}} \leftarrow D_{h/2}(v_{s_{2k-1}})

    with :math:`D_t(v_{s_k}) = v_{s_k} e^{-t v_{s_{k+1}}} + t\,a_{s_k} e^{-t v_{s_{k+1}}/2}`. All masses of parameters
    are 1.

    With two links :math:`\langle Q_1 v_{s_1}^2\rangle = T`, since the force on the second is zero on average: the mean
    friction is :math:`\sqrt{T/Q_1}` at most. A force with noise of standard deviation s, as minibatches have, needs
    the friction :math:`h s^2/2T`; where that is more, a chain of two or more links samples too hot. The remedy is one
    link, which has no such bound: it is then :class:`AdaptiveLangevin` without noise of its own.

    The density that an ergodic chain samples is :math:`\exp[-(L + |v|^2/2)/T]`. There is no noise: what is
    random is the start. Conserved is :func:`thermolib.observe.extended_energy`.

    ====================  ==================  ====================================
    symbol                argument            unit
    ====================  ==================  ====================================
    :math:`h, \Delta t`   ``step_size``       time
    :math:`T`             ``temperature``     loss
    :math:`N_c`           ``chain_length``    none
    :math:`Q_k`           ``masses``          loss times time squared
    :math:`\Delta T`      ``increment``       loss
    ====================  ==================  ====================================

    Parameters
    ----------
    step_size, temperature : a number, or a tensor of one value per replica.
    chain_length : links of the chain, 1 or more.
    masses : of all links, a number or one value per replica; or a tuple of them, one entry a link. Infinite masses
        switch the thermostat off.
    increment, stair : the temperature begins at 0 and rises by ``increment`` after every ``stair`` steps until it is
        ``temperature``. An infinite increment, the default, is a constant temperature.
    thermostats : "group" for one chain over all parameters, "tensor" for one per parameter tensor of the module.
    substeps : 0 for the steps above; 1, 3, 5 or 7 for velocity Verlet between two half steps of the chain's own flow,
        each composed of that many pieces with the weights of Suzuki and Yoshida.

    State: ``q`` and ``p`` (the velocities), ``[R, P]``, and of the links ``s`` and ``vs``, ``[R, K, M]``. All
    velocities start at zero if none are given to :meth:`init`.

    Raises
    ------
    ValueError : a step size or mass that is not above zero, a negative temperature, increment or stair, a chain
        without links, masses of another number of links, a number of substeps that is not known.

    Source: Babayan, Aliahmadi and van Anders (2024), Eqs. (22) to (38), with Eqs. (24), (26) and (29) corrected;
    the flow of the chain: Martyna, Tuckerman, Tobias, Klein (1996).
    """

    structure: ClassVar[tuple[str, ...]] = ("chain_length", "thermostats", "substeps", "sizes")

    step_size: Value = 0.002
    temperature: Value = 0.0
    chain_length: int = 2
    masses: Value | tuple[Value, ...] = 1.0
    increment: Value = math.inf
    stair: Value = 1.0
    thermostats: str = "group"
    substeps: int = 0
    #: Sizes of the parameter tensors, which training fills in where there is a chain for each.
    sizes: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        checks.above("step_size", self.step_size)
        checks.at_least("temperature", self.temperature)
        checks.integer("chain_length", self.chain_length, 1)
        for mass in self.masses if isinstance(self.masses, tuple) else (self.masses,):
            checks.above("masses", mass, infinite=True)
        if isinstance(self.masses, tuple) and len(self.masses) != self.chain_length:
            raise ValueError(
                f"masses has {len(self.masses)} entries: it must have one for each of the {self.chain_length} links"
            )
        checks.above("increment", self.increment, infinite=True)
        checks.above("stair", self.stair)
        checks.one_of("thermostats", self.thermostats, ("group", "tensor"))
        if self.substeps not in (0, *SUZUKI_YOSHIDA):
            raise ValueError(f"substeps={self.substeps!r} is not allowed: it must be 0, 1, 3, 5 or 7")

    @property
    def hyperparameters(self) -> dict[str, Value]:
        values = super().hyperparameters
        if isinstance(self.masses, tuple):
            del values["masses"]
            given = {f"mass_{k}": mass for k, mass in enumerate(self.masses, 1)}
            values |= {name: self.__dict__.get(name, mass) for name, mass in given.items()}
        return values

    def init(self, q: Tensor, velocity: Tensor | None = None) -> ChainState:
        """The state at positions ``q``, ``[R, P]``, with the links at rest.

        Parameters
        ----------
        q : positions ``[R, P]``.
        velocity : ``[R, P]``; zero if not given. To go on where an optimizer stopped, it is the difference of its last
            two iterates over its learning rate, Eq. (39); :func:`maxwell` draws one from the law at a temperature.

        Raises
        ------
        ValueError : velocities of another shape than ``q``; thermostats="tensor" without the sizes of the parameter
            tensors, or with sizes that do not add up to P.
        """
        self._check_sizes(q)
        if velocity is not None and velocity.shape != q.shape:
            raise ValueError(f"velocity has shape {tuple(velocity.shape)}: it must be that of q, {tuple(q.shape)}")
        links = q.new_zeros(len(q), len(self.sizes) or 1, self.chain_length)
        return ChainState(q, torch.zeros_like(q) if velocity is None else velocity, links, links.clone())

    def enter(self, state: ChainState, potential: Potential, key: Key) -> ChainState:
        self = self.columns(state.q)
        if self.substeps:
            state = self._flow(state, self._temperature(key))
            p = state.p + self.step_size / 2 * potential.force(state.q)
            return state._replace(q=state.q + self.step_size * p, p=p)
        return self._outer(state, self._temperature(key))

    def step(self, state: ChainState, potential: Potential, key: Key) -> ChainState:
        self = self.columns(state.q)
        now, later = self._temperature(key.at(later=-1)), self._temperature(key)
        if self.substeps:
            force = potential.force(state.q)
            state = self._flow(state._replace(p=state.p + self.step_size / 2 * force), now)
            state = self._flow(state, later)
            p = state.p + self.step_size / 2 * force
            return state._replace(q=state.q + self.step_size * p, p=p)
        state = self._inner(state, potential, now)
        return self._outer(self._outer(state, now, self._squares(state.p)), later, self._squares(state.p))

    def leave(self, state: ChainState, potential: Potential, key: Key) -> ChainState:
        self = self.columns(state.q)
        if self.substeps:
            p = state.p + self.step_size / 2 * potential.force(state.q)
            return self._flow(state._replace(p=p), self._temperature(key.at(later=-1)))
        temperature = self._temperature(key.at(later=-1))
        return self._outer(self._inner(state, potential, temperature), temperature)

    def _temperature(self, key: Key) -> Tensor:
        """Of a step, counted from 0. A run is in the middle of step n - 1 when its counter is n."""
        target, step = torch.as_tensor(self.temperature), key.step.clamp(min=0)
        stairs = torch.floor(step.to(target.dtype) / self.stair)
        return torch.where(stairs * self.increment < target, stairs * self.increment, target)

    def link_masses(self) -> list[Tensor]:
        """The mass of each link."""
        if isinstance(self.masses, tuple):
            return [torch.as_tensor(self.hyperparameters[f"mass_{k}"]) for k in range(1, self.chain_length + 1)]
        return [torch.as_tensor(self.masses)] * self.chain_length

    def _accelerations(
        self, state: ChainState, energy: Tensor, v: list[Tensor], temperature: Tensor
    ) -> Callable[[int], Tensor]:
        """Of link k, counted from 0, from the velocities as they are when it is asked for."""
        q = self.link_masses()
        count = self._counts(state.p)

        def acceleration(k: int) -> Tensor:
            if k == 0:
                return (energy - count * temperature) / q[0]
            held = torch.isinf(q[k - 1])  # such a link has no velocity, but infinity times zero is no number
            heat = torch.where(held, temperature, q[k - 1] * v[k - 1].square())
            return (heat - temperature) / q[k]

        return acceleration

    def _kick(self, k: int, v: list[Tensor], acceleration: Callable[[int], Tensor], t: Tensor) -> Tensor:
        """The map D of one link; the last link has no neighbour that brakes it."""
        if k + 1 == len(v):
            return v[k] + t * acceleration(k)
        half = torch.exp(-t / 2 * v[k + 1])
        return (v[k] * half + t * acceleration(k)) * half

    def _outer(self, state: ChainState, temperature: Tensor, energy: Tensor | None = None) -> ChainState:
        """Eqs. (30) to (32), which are also Eqs. (36) to (38): half a step of positions, even and odd links."""
        half = torch.as_tensor(self.step_size) / 2
        s, v = list(state.s.unbind(-1)), list(state.vs.unbind(-1))
        for k in range(1, len(v), 2):
            s[k] = s[k] + half * v[k]
        energy = self._squares(state.p) if energy is None else energy
        acceleration = self._accelerations(state, energy, v, temperature)
        for k in range(0, len(v), 2):
            v[k] = self._kick(k, v, acceleration, half)
        return ChainState(state.q + half * state.p, state.p, torch.stack(s, -1), torch.stack(v, -1))

    def _inner(self, state: ChainState, potential: Potential, temperature: Tensor) -> ChainState:
        """Eqs. (33) to (35): a whole step of velocities, odd links' positions and even links."""
        h = torch.as_tensor(self.step_size)
        s, v = list(state.s.unbind(-1)), list(state.vs.unbind(-1))
        half = self._each(torch.exp(-h / 2 * v[0]))
        p = (state.p * half + h * potential.force(state.q)) * half
        for k in range(0, len(v), 2):
            s[k] = s[k] + h * v[k]
        acceleration = self._accelerations(state, v[0], v, temperature)  # no even link asks for the kinetic energy
        for k in range(1, len(v), 2):
            v[k] = self._kick(k, v, acceleration, h)
        return ChainState(state.q, p, torch.stack(s, -1), torch.stack(v, -1))

    def _flow(self, state: ChainState, temperature: Tensor) -> ChainState:
        """Half a step of the chain alone: from its end to the parameters and back, for each of the pieces."""
        s, v = list(state.s.unbind(-1)), list(state.vs.unbind(-1))
        energy, scale = self._squares(state.p), torch.ones_like(v[0])
        for weight in SUZUKI_YOSHIDA[self.substeps]:
            t = weight * torch.as_tensor(self.step_size) / 2
            for k in reversed(range(len(v))):
                v[k] = self._kick(k, v, self._accelerations(state, energy, v, temperature), t / 2)
            factor = torch.exp(-t * v[0])
            energy, scale = energy * factor.square(), scale * factor
            s = [position + t * velocity for position, velocity in zip(s, v, strict=True)]
            for k in range(len(v)):
                v[k] = self._kick(k, v, self._accelerations(state, energy, v, temperature), t / 2)
        return ChainState(state.q, state.p * self._each(scale), torch.stack(s, -1), torch.stack(v, -1))
