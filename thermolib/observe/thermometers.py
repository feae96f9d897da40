"""Temperatures and the conserved energy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import jvp

from thermolib.dynamics.nose_hoover import NoseHooverChain
from thermolib.ground import checks, noise

__all__ = [
    "Thermometer",
    "configurational_temperature",
    "extended_energy",
    "kinetic_temperature",
    "laplacian",
    "momentum_temperature",
    "squared_gradient",
    "virial_temperature",
]

Potential = Callable[[Tensor], Tensor]

#: Up to so many parameters a trace costs little enough to be exact.
EXACT = 256


def kinetic_temperature(part: slice = slice(None)) -> Callable[[Any], Tensor]:
    r"""Kinetic temperature :math:`|p|^2 / N`, of all parameters or of a slice of them.

    Momenta ``[R, N]`` are read at the end of the word, for unit masses; the result is ``[R]``, in the units of the
    loss. Of a harmonic mode of curvature K, words that end behind O in chain A (``BAOA``, ``OABA``) show :math:`T`
    exactly; ``BAOAB`` shows :math:`T(1 - Kh^2/4)`.

    Parameters
    ----------
    part : which columns of the momenta; an empty slice gives NaN.

    Raises
    ------
    AttributeError : when it is read, a state without momenta ``p``.

    Source: Leimkuhler, Matthews, Vlaar (2019), section 5.1, on equipartition.
    """
    return lambda state: state.p[:, part].square().mean(1)


def momentum_temperature(lr: float = 1.0, part: slice = slice(None)) -> Callable[[Any], Tensor]:
    r"""Kinetic temperature :math:`|\Delta|^2 / (N\,\Delta t^2)` of momentum, whose velocity is its last displacement.

    For :class:`thermolib.Momentum` and :class:`thermolib.CoolMomentum`. With ``lr`` :math:`= \Delta t^2`, the base rate
    of CoolMomentum, it is the temperature; as it stands the rescaled one, :math:`T\,\Delta t^2`, which needs no time
    step. Of a harmonic mode it is :math:`K\langle x^2\rangle` exactly, at every step size and momentum.

    Raises ValueError for an lr that is not above zero. Source: Borysenko and Byshkin (2021), section 5, Eq. (22).
    """
    checks.above("lr", lr)
    return lambda state: state.p[:, part].square().mean(1) / lr


class Thermometer:
    r"""Rescaled temperature of a module that any optimizer trains, averaged over the steps since the last reading.

    .. math:: T\,\Delta t^2 = \frac{1}{N S}\sum_{n=1}^{S} \sum_{i=1}^{N} \Delta x_{i,n}^2

    Call :meth:`step` after each step of the optimizer and :meth:`read` once an epoch. The displacements are differences
    of the parameters, so that all optimizers are measured alike: their time step, which not all have, is not needed.
    The temperature is the reading over :math:`\Delta t^2`, the base rate ``lr`` of CoolMomentum, or
    :math:`2\eta/(1+\rho)` of SGD with momentum.

    Parameters
    ----------
    module : what is trained; its parameters that require a gradient are looked at.
    statistics : count every number that the module stores, as the authors' code does: parameters, and the moving means
        and variances of batch normalisation, which no force moves.

    Raises
    ------
    ValueError : a module with nothing to look at; a reading before any step.

    Source: Borysenko and Byshkin (2021), section 5, Eq. (22) and Fig. 1 (c).
    """

    def __init__(self, module: nn.Module, statistics: bool = False) -> None:
        self._now = [p.detach() for p in module.parameters() if statistics or p.requires_grad]
        if statistics:
            self._now += [b.detach() for b in module.buffers() if b.is_floating_point()]
        self.size = sum(t.numel() for t in self._now)  # what N counts
        if not self.size:
            raise ValueError(f"module={type(module).__name__} is not allowed: it has no parameters to train")
        self._before = [t.clone() for t in self._now]
        self._sum = torch.zeros((), dtype=torch.float64, device=self._now[0].device)
        self._steps = 0

    @torch.no_grad()
    def step(self) -> None:
        """Add the displacement since the last call."""
        moves = torch._foreach_sub(self._now, self._before)
        self._sum += torch.stack(torch._foreach_norm(moves)).double().square().sum()
        torch._foreach_copy_(self._before, self._now)
        self._steps += 1

    def read(self) -> float:
        """The mean over the steps since the last reading; begins anew."""
        if not self._steps:
            raise ValueError("there was no step since the last reading: call step() after each step of the optimizer")
        mean = float(self._sum) / (self.size * self._steps)
        self._sum.zero_()
        self._steps = 0
        return mean


def virial_temperature(potential: Potential) -> Callable[[Any], Tensor]:
    r"""Virial temperature :math:`q\cdot\nabla U / N`, whose mean is T for a potential that confines the positions.

    Positions are read at the end of the word: exact for a harmonic mode at the force points of chain A (``BAOAB``).
    """
    return lambda state: (state.q * _gradient(potential, state.q)).sum(1) / state.q.shape[1]


def configurational_temperature(potential: Potential, probes: int = 8, seed: int = 0) -> Callable[[Any], Tensor]:
    r"""Configurational temperature :math:`|\nabla U|^2 / \Delta U`, for any loss, confining or not.

    .. math:: T = \frac{\langle|\nabla U|^2\rangle}{\langle\Delta U\rangle}

    is exact: average :func:`squared_gradient` and :func:`laplacian` first, then divide. The mean of this ratio is T
    where the Laplacian is exact and hardly changes. Where it is estimated and few directions are stiff, the estimate is
    nearly :math:`\chi^2` with as many degrees as there are probes, and with n of them the mean of the ratio is too high
    by the factor :math:`n/(n-2)`.

    Positions are read at the end of the word, exact at the force points of chain A (``BAOAB``). A network of ReLUs has
    curvature on a set of measure zero that no derivative sees: for it the reading is too high.

    The result is ``[R]``, in the units of the loss. Where the Laplacian is negative so is the reading, and where it is
    zero the reading is infinite. Parameters, costs and refusals are those of :func:`laplacian`.

    Source: Rugh (1997); Butler, Ayton, Jepps, Evans (1998).
    """
    above, below = squared_gradient(potential), laplacian(potential, probes, seed)
    return lambda state: above(state) / below(state)


def squared_gradient(potential: Potential) -> Callable[[Any], Tensor]:
    r"""The squared force :math:`|\nabla U|^2`, ``[R]``, of a loss ``[R, P]`` to ``[R]`` at the end of the word."""
    return lambda state: _gradient(potential, state.q).square().sum(1)


def laplacian(potential: Potential, probes: int = 8, seed: int = 0) -> Callable[[Any], Tensor]:
    r"""The Laplacian of the loss at the end of the word, ``[R]``.

    .. math:: \Delta U = \operatorname{tr} \nabla^2 U \approx \frac1n\sum_i z_i^T\,\nabla^2 U\,z_i

    Exact up to 256 parameters; above, Hutchinson's estimate with random vectors z of signs, without bias.

    Parameters
    ----------
    potential : the loss of positions, ``[R, P]`` to ``[R]``, twice differentiable; costs as much as a gradient and more
        for each probe, and for each parameter where it is exact.
    probes : n, how many random vectors.
    seed : of their signs, which are others at other positions, and the same at the same.

    Raises
    ------
    ValueError : fewer than one probe, a seed out of range.

    Source: Hutchinson (1990).
    """
    checks.integer("probes", probes, 1)
    first = noise.key(seed, 1)

    def read(state: Any) -> Tensor:
        q, count = state.q, state.q.shape[1]
        exact = count <= EXACT
        key = noise.Key(first.seed.to(q.device), _mark(q), first.step.to(q.device))
        total = torch.zeros_like(q[:, 0])
        for i in range(count if exact else probes):
            if exact:
                probe = torch.zeros_like(q)
                probe[:, i] = 1
            else:
                probe = (key.bits(noise.PROBE + i, count) & 1).to(q.dtype) * 2 - 1
            total += (probe * jvp(lambda x: _gradient(potential, x), (q,), (probe,))[1]).sum(1)
        return total if exact else total / probes

    return read


def _mark(q: Tensor) -> Tensor:
    """A number of 32 bits for the positions of each replica, ``[R, 1]``, that hardly any others share."""
    bits = q.contiguous().view({2: torch.int16, 4: torch.int32, 8: torch.int64}[q.element_size()]).to(torch.int64)
    return (bits * (2 * torch.arange(q.shape[1], device=q.device) + 1)).sum(1, keepdim=True) & 0xFFFFFFFF


def extended_energy(potential: Potential, chain: NoseHooverChain) -> Callable[[Any], Tensor]:
    r"""The conserved quantity of a Nosé-Hoover chain on a potential, at a constant temperature:

    .. math:: H' = L + \tfrac12|v|^2 + \sum_k \tfrac12 Q_k v_{s_k}^2 + N T s_1 + T\sum_{k\ge2} s_k,

    summed over the chains where there are several. It changes where the temperature does. Hyperparameters of one value
    per replica need a run whose replicas are one chunk, as those of :func:`thermolib.simulate` are. One number per
    replica, ``[R]``, in the units of the loss, at the end of the word.

    Parameters
    ----------
    potential : L, the loss of positions, ``[R, P]`` to ``[R]``.
    chain : the integrator of the run, which knows the masses Q and the temperature T.

    Raises
    ------
    AttributeError : when it is read, a state that is not of a Nosé-Hoover chain.

    Source: Babayan, Aliahmadi and van Anders (2024), Eq. (22).
    """

    def read(state: Any) -> Tensor:
        now = chain.columns(state.q)
        masses = torch.cat([mass.expand(len(state.q), 1) for mass in now.link_masses()], 1)[:, None]
        count = torch.tensor(now.sizes or (state.q.shape[1],), dtype=state.q.dtype, device=state.q.device)
        links = (masses * state.vs.square()).sum((1, 2)) / 2
        heat = now.temperature[:, 0] * ((count * state.s[..., 0]).sum(1) + state.s[..., 1:].sum((1, 2)))
        return potential(state.q) + state.p.square().sum(1) / 2 + links + heat

    return read


def _gradient(potential: Potential, q: Tensor) -> Tensor:
    return torch.func.grad(lambda x: potential(x).sum())(q)
