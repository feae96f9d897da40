"""aMC as an optimizer, for any ``nn.Module`` and its own training loop."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from thermolib import dynamics
from thermolib.ground import noise
from thermolib.nets.signals import Listener

__all__ = ["AdaptiveMonteCarlo"]


class AdaptiveMonteCarlo(torch.optim.Optimizer):
    r"""Adaptive Monte Carlo, :class:`thermolib.AdaptiveMonteCarlo`, as an optimizer::

        optimizer = tl.optim.AdaptiveMonteCarlo(model.parameters(), step_size=1e-2, signal_norm=model)
        for x, y in loader:
            optimizer.step(lambda: criterion(model(x), y))

    Each step moves all parameters at once, asks the closure for the loss there, and keeps the move or puts the
    parameters back, to the bit. No gradient is evaluated: the closure returns the loss and calls no ``backward()``.
    With ``mean_rate=0``, ``patience=math.inf`` and no signal norm it is the Metropolis algorithm.

    Where ``torch.distributed`` is in use and each process evaluates the loss on its own share of the data, every one
    proposes the same move, because noise is a function of (seed, step, index), and the mean of the losses over the
    processes decides: one number is sent, and with signal norm one more for each parameter tensor.

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
    params : parameters, in one group: they are accepted or rejected together.
    step_size, mean_rate, patience, temperature : as for :class:`thermolib.AdaptiveMonteCarlo`.
    signal_norm : the module whose layers scale the moves of their weights; None for no signal norm.
    full_batch : whether the closure is the same function at every step, so that the loss of the parameters is known
        from the step before and a step costs one call of the closure; otherwise it costs two.
    seed : of the noise, 0 to 2**32 - 1.

    Raises
    ------
    ValueError : as :class:`thermolib.AdaptiveMonteCarlo`; more than one group, no closure, a layer that
        :mod:`thermolib.nets.signals` does not take.

    Source: Whitelam et al. (2022), section III.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        step_size: float = 1e-2,
        mean_rate: float = 1e-2,
        patience: float = 100,
        signal_norm: nn.Module | None = None,
        temperature: float = 0.0,
        full_batch: bool = False,
        seed: int = 0,
    ) -> None:
        given: dict[str, Any] = {
            "step_size": step_size,
            "mean_rate": mean_rate,
            "patience": patience,
            "temperature": temperature,
        }
        dynamics.AdaptiveMonteCarlo(**given)
        noise.key(seed, 1)
        super().__init__(params, given | {"full_batch": full_batch, "seed": seed, "steps": 0})
        if len(self.param_groups) > 1:
            raise ValueError(f"params has {len(self.param_groups)} groups: it must be one, moved as a whole")
        self._module = signal_norm
        self._listener = None if signal_norm is None else Listener(signal_norm)

    @property
    def _parameters(self) -> list[Tensor]:
        return self.param_groups[0]["params"]

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Propose a move and keep it or not; returns the loss of the parameters after it, a Python number."""
        if closure is None:
            raise ValueError("closure=None is not allowed: it must be a function that returns the loss")
        group, parameters = self.param_groups[0], self._parameters
        names = ("step_size", "mean_rate", "patience", "temperature")
        sizes = {str(i): p.numel() for i, p in enumerate(parameters)}
        law = dynamics.AdaptiveMonteCarlo(
            **{name: group[name] for name in names}, signal_norm=self._module is not None
        ).bind(sizes)
        potential = _Closure(self, closure)
        q = torch.cat([p.reshape(1, -1).to(_wide(p.dtype)) for p in parameters], 1)
        kept = self.state[parameters[0]]
        state = dynamics.monte_carlo.AdaptiveMonteCarloState(**kept) if kept else law.init(q)
        changed = not all(torch.equal(a, b) for a, b in zip(self._split(state.q), parameters, strict=True))
        if changed or not kept:
            state = state._replace(q=q) if changed else state
            state = law.begin(state, potential) if potential.fixed else state
        key = noise.key(group["seed"], 1, group["steps"], q.device)
        state = law.step(state, potential, key)
        self._load(state.q)
        self.state[parameters[0]] = dict(state._asdict())
        group["steps"] += 1
        return state.loss.item()

    @property
    def accepted(self) -> int:
        """How many moves were accepted so far."""
        kept = self.state[self._parameters[0]]
        return int(kept["accepted"]) if kept else 0

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """As in PyTorch, but the state keeps its types whatever the type of the parameters."""
        super().load_state_dict(state_dict)
        for entry in state_dict["state"].values():
            device = self._parameters[0].device
            self.state[self._parameters[0]] = {name: value.to(device).clone() for name, value in entry.items()}

    def _split(self, q: Tensor) -> list[Tensor]:
        pieces = q[0].split([p.numel() for p in self._parameters])
        return [x.reshape(p.shape).to(p.dtype) for x, p in zip(pieces, self._parameters, strict=True)]

    def _load(self, q: Tensor) -> None:
        for parameter, value in zip(self._parameters, self._split(q), strict=True):
            parameter.copy_(value)

    def _signals(self) -> Tensor:
        """The mean squares that the last forward pass told, ``[T]``."""
        assert self._module is not None and self._listener is not None
        names = {id(p): name for name, p in self._module.named_parameters()}
        return self._listener.mean_squares([names.get(id(p), "") for p in self._parameters])


class _Closure:
    """The loss of the closure as integrators see it: one replica, the mean over all processes."""

    def __init__(self, optimizer: AdaptiveMonteCarlo, closure: Callable[[], Any]) -> None:
        self._optimizer, self._closure = optimizer, closure
        self.fixed = bool(optimizer.param_groups[0]["full_batch"])

    def _value(self, q: Tensor) -> Tensor:
        self._optimizer._load(q)
        return torch.as_tensor(self._closure(), device=q.device).detach().to(q.dtype).reshape(1)

    def loss(self, q: Tensor) -> Tensor:
        return _mean(self._value(q))

    def loss_and_signals(self, q: Tensor) -> tuple[Tensor, Tensor]:
        assert self._optimizer._listener is not None
        with self._optimizer._listener:
            value = self._value(q)
        both = _mean(torch.cat([value, self._optimizer._signals().to(q)]))
        return both[:1], both[None, 1:]

    def force(self, q: Tensor) -> Tensor:
        raise TypeError("a Monte Carlo step asks for no force")


def _wide(dtype: torch.dtype) -> torch.dtype:
    return dtype if dtype in (torch.float32, torch.float64) else torch.float32


def _mean(values: Tensor) -> Tensor:
    """Over the processes of torch.distributed, where there are several."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.all_reduce(values)
        values /= torch.distributed.get_world_size()
    return values
