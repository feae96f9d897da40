"""Training without gradients: the Metropolis algorithm, and its adaptive variant aMC."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from thermolib.dynamics.base import Integrator, Potential, Value, two_names
from thermolib.ground import checks
from thermolib.ground.noise import Key

__all__ = ["AdaptiveMonteCarlo", "AdaptiveMonteCarloState", "Metropolis", "MetropolisState", "scale"]

#: The step size is multiplied by this when ``patience`` moves in a row were rejected.
SHRINK = 0.95


class MetropolisState(NamedTuple):
    """Positions ``[R, P]``, their loss ``[R]``, and how many moves were accepted so far, ``[R]``."""

    q: Tensor
    loss: Tensor
    accepted: Tensor


class AdaptiveMonteCarloState(NamedTuple):
    """What :class:`MetropolisState` holds, and the distribution that moves are drawn from.

    ``mean`` is the mean of the moves, ``[R, P]``; ``sigma`` their present size and ``rejected`` the number of moves
    rejected in a row, ``[R, 1]``; ``signal`` the mean over the data of the summed squares of what feeds a neuron, one
    for each parameter tensor, ``[R, T]``, from the pass through the data that gave the loss (ones, ``[R, 1]``, where
    there is no signal norm).
    """

    q: Tensor
    loss: Tensor
    accepted: Tensor
    mean: Tensor
    sigma: Tensor
    rejected: Tensor
    signal: Tensor


@two_names
@dataclass(frozen=True)
class Metropolis(Integrator):
    r"""The Metropolis algorithm: all parameters are moved at random at once, and the move is kept or undone.

    .. math::

        x' = x + \sigma R, \quad R \sim N(0, I); \qquad
        \text{accept } x' \text{ if } U(x') \le U(x) - \tau\ln\xi, \quad \xi \sim U(0, 1]

    It samples :math:`\exp[-U/\tau]`. At temperature zero, as in the paper, the loss never rises, and small moves are
    noisy descent along the normalised gradient, with the mean :math:`-(\sigma/\sqrt{2\pi})\,\nabla U/|\nabla U|` and
    the second moment :math:`\sigma^2/2` of each component: :func:`thermolib.exact.metropolis`. No gradient is
    evaluated. A rejected move leaves the parameters as they were, to the bit; a loss that is not finite is a rejection.

    ==================  =================  ====================================
    symbol              argument           unit
    ==================  =================  ====================================
    :math:`\sigma`      ``step_size``      position
    :math:`\tau`        ``temperature``    loss
    ==================  =================  ====================================

    Parameters
    ----------
    step_size, temperature : a number, or a tensor of one value per replica.

    State: ``q`` of ``[R, P]``, ``loss`` and ``accepted`` of ``[R]``. Where the potential is the same at every step (a
    full batch) a step costs one loss; on minibatches both losses are taken on the same minibatch, and it costs two.

    Raises
    ------
    ValueError : a step size that is not above zero, a negative temperature.

    Source: Whitelam et al. (2022), Eqs. (1) and (2) and reference 60.
    """

    step_size: Value = 1e-3
    temperature: Value = 0.0

    def __post_init__(self) -> None:
        checks.above("step_size", self.step_size)
        checks.at_least("temperature", self.temperature)

    def init(self, q: Tensor) -> MetropolisState:
        return MetropolisState(q, torch.full_like(q[:, 0], torch.finfo(q.dtype).max), _none(q))

    def begin(self, state: MetropolisState, potential: Potential) -> MetropolisState:
        return state._replace(loss=_kept(state.loss, bounded(potential.loss(state.q))))

    def step(self, state: MetropolisState, potential: Potential, key: Key) -> MetropolisState:
        self = self.columns(state.q)
        old = state.loss if is_fixed(potential) else bounded(potential.loss(state.q))
        moved = state.q + self.step_size * key.normal(0, state.q.shape[1], state.q.dtype)
        new = bounded(potential.loss(moved))
        accept = accepted(old, new, self.temperature, key)
        return MetropolisState(
            torch.where(accept[:, None], moved, state.q), torch.where(accept, new, old), state.accepted + accept
        )


@two_names
@dataclass(frozen=True)
class AdaptiveMonteCarlo(Integrator):
    r"""aMC: Metropolis moves whose mean and size follow what was accepted, and whose size may differ between layers.

    .. math::

        x' = x + \epsilon', \quad \epsilon' \sim N(\mu, (\lambda\sigma)^2); \qquad
        \text{accept } x' \text{ if } U(x') \le U(x) - \tau\ln\xi, \quad \xi \sim U(0, 1]

    .. math::

        \text{accepted} &: \mu \leftarrow \mu + \epsilon\,(\epsilon' - \mu) \\
        n_s \text{ rejections in a row} &: \sigma \leftarrow 0.95\,\sigma, \quad \mu \leftarrow 0

    With signal norm, :math:`\lambda` is 1 for biases and for weights :math:`1/\sqrt{\langle\sum_i S_i^2\rangle}`, the
    sum over all signals :math:`S_i` that feed their neuron and the mean over the data
    (:mod:`thermolib.nets.signals`), 0 where there are none; without it, 1. At a fixed :math:`\lambda`
    the mean accepted move of layer l on a linear loss is :math:`-\sigma\lambda_l^2 g_l / \sqrt{2\pi \sum_k \lambda_k^2
    |g_k|^2}`. With ``mean_rate=0``, infinite patience and no signal norm this is :class:`Metropolis`, to the bit. At a
    temperature above zero the moves with a mean are not symmetric, and what is sampled is not :math:`\exp[-U/\tau]`.
    No gradient is evaluated. A rejected move leaves the parameters as they were, to the bit; a loss that is not finite
    is a rejection.

    ====================  =================  ====================================
    symbol                argument           unit
    ====================  =================  ====================================
    :math:`\sigma_0`      ``step_size``      position
    :math:`\epsilon`      ``mean_rate``      none
    :math:`n_s`           ``patience``       steps
    :math:`\tau`          ``temperature``    loss
    ====================  =================  ====================================

    Parameters
    ----------
    step_size, mean_rate, patience, temperature : a number, or a tensor of one value per replica. A negative mean rate
        drives the mean away from what was accepted.
    signal_norm : whether moves are scaled by the signals; needs a network, not a bare potential.

    State: :class:`AdaptiveMonteCarloState`. A step costs one loss on a full batch and two on minibatches; the signals
    come with the pass through the data at the positions that the move starts from.

    Raises
    ------
    ValueError : a step size that is not above zero, a mean rate that is not finite, a patience below 1, a negative
        temperature; signal norm on a bare potential, or for a layer that :mod:`thermolib.nets.signals` does not take.

    Source: Whitelam et al. (2022), section III, Eqs. (9), (10), (17), (18).
    """

    structure: ClassVar[tuple[str, ...]] = ("signal_norm", "sizes")

    step_size: Value = 1e-2
    mean_rate: Value = 1e-2
    patience: Value = 100
    signal_norm: bool = False
    temperature: Value = 0.0
    #: Sizes of the parameter tensors, which training fills in where there is signal norm.
    sizes: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        checks.above("step_size", self.step_size)
        if callable(self.step_size):
            raise ValueError("step_size is a schedule: here it must be a number, from which moves find their own size")
        checks.above("mean_rate", self.mean_rate, -float("inf"))
        checks.at_least("patience", self.patience, 1, infinite=True)
        checks.at_least("temperature", self.temperature)
        if not isinstance(self.signal_norm, bool):
            raise ValueError(f"signal_norm={self.signal_norm!r} is not allowed: it must be True or False")

    def bind(self, sizes: Mapping[str, int]) -> AdaptiveMonteCarlo:
        return dataclasses.replace(self, sizes=tuple(sizes.values())) if self.signal_norm else self

    def init(self, q: Tensor) -> AdaptiveMonteCarloState:
        if self.signal_norm and sum(self.sizes) != q.shape[1]:
            raise ValueError(
                "signal_norm=True needs a network, whose layers have signals: on a bare potential it must be False"
            )
        if self.signal_norm:
            _columns(self.sizes, q.device)  # here, since a step that is compiled cannot make it
        column = torch.as_tensor(self.step_size, dtype=q.dtype, device=q.device).reshape(-1, 1)
        checks.length("step_size", column, len(q))
        return AdaptiveMonteCarloState(
            q,
            torch.full_like(q[:, 0], torch.finfo(q.dtype).max),
            _none(q),
            torch.zeros_like(q),
            column.expand(len(q), 1).clone(),
            torch.zeros_like(q[:, :1]),
            q.new_ones(len(q), len(self.sizes) or 1),
        )

    def begin(self, state: AdaptiveMonteCarloState, potential: Potential) -> AdaptiveMonteCarloState:
        loss, signal = self._look(potential, state.q)
        kept = _kept(state.loss, loss)
        return state._replace(loss=kept, signal=torch.where((kept == loss)[:, None], signal, state.signal))

    def step(self, state: AdaptiveMonteCarloState, potential: Potential, key: Key) -> AdaptiveMonteCarloState:
        self = self.columns(state.q)
        fixed = is_fixed(potential)
        old, signal = (state.loss, state.signal) if fixed else self._look(potential, state.q)
        move = state.mean + state.sigma * self._scale(signal) * key.normal(0, state.q.shape[1], state.q.dtype)
        moved = state.q + move
        new, new_signal = self._look(potential, moved) if fixed else (bounded(potential.loss(moved)), signal)
        accept = accepted(old, new, self.temperature, key)
        column = accept[:, None]
        mean = torch.where(column, state.mean + self.mean_rate * (move - state.mean), state.mean)
        rejected = torch.where(column, 0.0, state.rejected + 1)
        tired = rejected >= self.patience
        return AdaptiveMonteCarloState(
            torch.where(column, moved, state.q),
            torch.where(accept, new, old),
            state.accepted + accept,
            torch.where(tired, 0.0, mean),
            torch.where(tired, SHRINK * state.sigma, state.sigma),
            torch.where(tired, 0.0, rejected),
            torch.where(column, new_signal, signal),
        )

    def _look(self, potential: Any, q: Tensor) -> tuple[Tensor, Tensor]:
        """The loss, and the signals of the same pass through the data."""
        if not self.signal_norm:
            return bounded(potential.loss(q)), q.new_ones(len(q), 1)
        loss, signal = potential.loss_and_signals(q)
        return bounded(loss), torch.where(signal.isfinite(), signal, 0.0)

    def _scale(self, signal: Tensor) -> Tensor:
        r""":math:`\lambda`, one value per parameter or one for all: 0 where there is no signal."""
        if not self.signal_norm:
            return signal
        return scale(signal).index_select(1, _columns(self.sizes, signal.device))


@functools.cache
def _columns(sizes: tuple[int, ...], device: torch.device) -> Tensor:
    """Which parameter tensor each parameter is in; one tensor for all steps, so that they are compiled once."""
    return torch.repeat_interleave(torch.tensor(sizes)).to(device)


def _none(q: Tensor) -> Tensor:
    return torch.zeros(len(q), dtype=torch.int64, device=q.device)


def is_fixed(potential: Potential) -> bool:
    """Whether the potential is the same function at every step, so that a loss stays known."""
    return bool(getattr(potential, "fixed", False))


def bounded(loss: Tensor) -> Tensor:
    """What is not a finite number counts as the largest one."""
    return torch.where(loss.isfinite(), loss, torch.finfo(loss.dtype).max)


def _kept(known: Tensor, loss: Tensor) -> Tensor:
    """The loss at the beginning of a run. One that agrees with what an earlier run knew to rounding is that of the same
    data, and the known one stays, so that a resumed run is the uninterrupted one to the bit."""
    same = (known - loss).abs() <= 64 * torch.finfo(loss.dtype).eps * loss.abs()
    return torch.where(same, known, loss)


def accepted(old: Tensor, new: Tensor, temperature: Value, key: Key) -> Tensor:
    threshold = old - (temperature * torch.log(key.uniform(1, 1, old.dtype)))[:, 0]
    return (new <= threshold) & (new < torch.finfo(new.dtype).max)


def scale(mean_square: Tensor) -> Tensor:
    r"""How long the moves of a weight are, given the power of the signals that feed its neuron.

    .. math:: \lambda = P^{-1/2}, \qquad P = \frac1{N_\text{data}}\sum_\alpha\sum_{i'\to j}(S^\alpha_{i'})^2

    ``mean_square`` is P, a tensor of any shape, as :mod:`thermolib.nets.signals` tells it; the result has the same
    shape and the inverse units of the signals. Where P is not above zero, no signal comes, and :math:`\lambda = 0`.
    Nothing is refused; NaN stays NaN.

    Source: Whitelam et al. (2022), section III B, Eqs. (17) and (18).
    """
    silent = mean_square <= 0
    return torch.where(silent, 0.0, torch.where(silent, 1.0, mean_square).rsqrt())
