"""Adaptive Langevin dynamics: a thermostat that finds the friction by itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from thermolib.dynamics.base import Splitting, Thermostatted, Value, nothing, two_names
from thermolib.ground import checks

__all__ = ["AdaptiveLangevin", "AdaptiveState"]


class AdaptiveState(NamedTuple):
    """Positions and momenta ``[R, P]``, and the thermostats ``[R, K]``."""

    q: Tensor
    p: Tensor
    xi: Tensor


@two_names
@dataclass(frozen=True)
class AdaptiveLangevin(Thermostatted, Splitting):
    r"""Adaptive Langevin dynamics, integrated by a splitting word.

    .. math::

        d\theta &= p\,dt \\
        dp &= G(\theta)\,dt - \epsilon\xi p\,dt + \sigma_A\,dW \\
        d\xi &= \epsilon\,(|p|^2 - N\tau)\,dt

    with the maps A and B of :class:`Langevin` and

    .. math::

        C_h &: p \leftarrow e^{-h\epsilon\xi}\,p \qquad (e^{-h\xi}\,p \text{ in the convention of the code}) \\
        D_h &: p \leftarrow p + \sigma_A\sqrt{h}\,R \\
        E_h &: \xi \leftarrow \xi + h\epsilon\,(|p|^2 - N\tau) \\
        F_h &: p \leftarrow e^{-gh} p + \sigma_A\sqrt{\tfrac{1 - e^{-2gh}}{2g}}\;R, \qquad g = \epsilon\xi

    F solves C and D together, exactly in law; the word is then ``BAFEFAB``. Where the gradient has the noise
    :math:`\sigma_G`, the thermostat settles at the friction :math:`(h\sigma_G^2 + \sigma_A^2)/2\tau` that keeps the
    temperature :math:`\tau`; see :func:`thermolib.exact.adaptive_langevin`.

    The paper's equations have the friction :math:`\epsilon\xi`, its map C and the authors' code :math:`\xi`. Both are
    the same dynamics at other parameters, :math:`\epsilon_\text{sde} = \sqrt{\epsilon_\text{code}}`.

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
    word : letters of A to F. A letter that occurs k times lasts ``step_size / k``.
    step_size, temperature, noise, coupling : a number, or a tensor of one value per replica.
    convention : "sde" for the friction :math:`\epsilon\xi`, "code" for :math:`\xi`.
    thermostats : "group" for one xi over all parameters, "tensor" for one per parameter tensor of the module.

    State: ``q`` and ``p``, each ``[R, P]``, and ``xi`` of ``[R, K]``; momenta and thermostats start at zero.

    Raises
    ------
    ValueError : a word with an unknown letter or without A or B, a step size or coupling that is not above zero, a
        negative temperature or noise, an unknown convention or choice of thermostats.

    Source: Leimkuhler, Matthews, Vlaar (2019), section 2.5, Eqs. (12) to (14).
    """

    alphabet: ClassVar[str] = "ABCDEF"
    structure: ClassVar[tuple[str, ...]] = ("word", "convention", "thermostats", "sizes")

    word: str = "BACDEDCAB"
    step_size: Value = 0.1
    temperature: Value = 1e-4
    noise: Value = 0.01
    coupling: Value = 0.1
    convention: str = "sde"
    thermostats: str = "group"
    #: Sizes of the parameter tensors, which training fills in where there is a thermostat for each.
    sizes: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        _ = self.parsed
        checks.above("step_size", self.step_size)
        checks.at_least("temperature", self.temperature)
        checks.at_least("noise", self.noise)
        checks.above("coupling", self.coupling)
        checks.one_of("convention", self.convention, ("sde", "code"))
        checks.one_of("thermostats", self.thermostats, ("group", "tensor"))

    def init(self, q: Tensor) -> AdaptiveState:
        self._check_sizes(q)
        return AdaptiveState(q, torch.zeros_like(q), q.new_zeros(len(q), len(self.sizes) or 1))

    @property
    def silent(self) -> bool:
        return nothing(self.noise)

    def _friction(self, state: AdaptiveState) -> Tensor:
        return self._each(self.coupling * state.xi if self.convention == "sde" else state.xi)

    def map_C(self, state: AdaptiveState, dt: Tensor, draw: Callable[[], Tensor]) -> AdaptiveState:
        return state._replace(p=torch.exp(-dt * self._friction(state)) * state.p)

    def map_D(self, state: AdaptiveState, dt: Tensor, draw: Callable[[], Tensor]) -> AdaptiveState:
        return state._replace(p=state.p + self.noise * torch.sqrt(dt) * draw())

    def map_E(self, state: AdaptiveState, dt: Tensor, draw: Callable[[], Tensor]) -> AdaptiveState:
        heat = self._squares(state.p) - self._counts(state.p) * self.temperature
        return state._replace(xi=state.xi + dt * self.coupling * heat)

    def map_F(self, state: AdaptiveState, dt: Tensor, draw: Callable[[], Tensor]) -> AdaptiveState:
        x = 2.0 * dt * self._friction(state)
        # (1 - exp(-x)) / x without 0/0: below the bound the series is exact to rounding
        small = x.abs() < 1e-3
        safe = torch.where(small, torch.ones_like(x), x)
        share = torch.where(small, 1 - x / 2 * (1 - x / 3 * (1 - x / 4)), -torch.expm1(-safe) / safe)
        return state._replace(p=torch.exp(-x / 2) * state.p + self.noise * torch.sqrt(dt * share) * draw())
