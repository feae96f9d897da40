"""aMC as an optimizer, for any ``nn.Module`` and its own training loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from thermolib import dynamics
from thermolib.ground import noise
from thermolib.nets.signals import Listener
from thermolib.optim.contract import Contract, Params, resting

__all__ = ["AdaptiveMonteCarlo"]


class AdaptiveMonteCarlo(Contract):
    r"""Adaptive Monte Carlo, :class:`thermolib.AdaptiveMonteCarlo`, as an optimizer::

        optimizer = tl.optim.AdaptiveMonteCarlo(model.parameters(), step_size=1e-2, signal_norm=model)
        for x, y in loader:
            optimizer.step(lambda: criterion(model(x), y))

    Each step moves all parameters at once, asks the closure for the loss there, and keeps the move or puts the
    parameters back, to the bit, and with them the buffers of the modules that were called, such as batch statistics.
    Parameters that need no gradient stay. No gradient is evaluated: the closure returns the loss and calls no
    ``backward()``.
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
    step_size, mean_rate, patience, temperature : as for :class:`thermolib.AdaptiveMonteCarlo`. The step size may be
        called ``lr``, which is its name in the group: a scheduler that changes it scales the present moves alike.
    signal_norm : the module whose layers scale the moves of their weights; None for no signal norm.
    full_batch : whether the closure is the same function at every step, so that the loss of the parameters is known
        from the step before and a step costs one call of the closure; otherwise it costs two.
    seed : of the noise, 0 to 2**32 - 1; if not given, one that no optimizer of the process has had.

    Raises
    ------
    ValueError : as :class:`thermolib.AdaptiveMonteCarlo`; more than one group, no closure, a layer that
        :mod:`thermolib.nets.signals` does not take.

    Source: Whitelam et al. (2022), section III.
    """

    def __init__(
        self,
        params: Params,
        step_size: float = 1e-2,
        mean_rate: float = 1e-2,
        patience: float = 100,
        signal_norm: nn.Module | None = None,
        temperature: float = 0.0,
        full_batch: bool = False,
        seed: int | None = None,
        **given: float,
    ) -> None:
        if unknown := sorted(set(given) - {"lr"}):
            raise TypeError(f"got an unexpected keyword argument {unknown[0]!r}")
        rate = {"lr": given.get("lr", step_size)}
        named = {"mean_rate": mean_rate, "patience": patience, "temperature": temperature, "full_batch": full_batch}
        super().__init__(params, rate | named | {"seed": self.seed(seed), "made": 0, "sized": rate["lr"]})
        if len(self.param_groups) > 1:
            raise ValueError(f"params has {len(self.param_groups)} groups: it must be one, moved as a whole")
        self._module = signal_norm
        self._listener = None if signal_norm is None else Listener(signal_norm)

    def refuse(self, group: dict[str, Any]) -> None:
        _law(group)

    def __getstate__(self) -> dict[str, Any]:
        return super().__getstate__() | {"_module": self._module}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._listener = None if self._module is None else Listener(self._module)

    @property
    def _parameters(self) -> list[Tensor]:
        return [p for p in self.param_groups[0]["params"] if p.requires_grad]

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Propose a move and keep it or not; returns the loss of the parameters after it, a Python number.

        At the learning rate 0 nothing moves and nothing is counted.
        """
        if closure is None:
            raise ValueError("closure=None is not allowed: it must be a function that returns the loss")
        group, parameters = self.param_groups[0], self._parameters
        if resting(group["lr"]):
            return float(closure())
        sizes = {str(i): p.numel() for i, p in enumerate(parameters)}
        law = _law(group, self._module is not None).bind(sizes)
        potential = _Closure(self, closure)
        q = torch.cat([p.reshape(1, -1).to(_wide(p.dtype)) for p in parameters], 1)
        kept = self.state[parameters[0]]
        kept = kept if kept and kept["q"].shape == q.shape else {}
        state = dynamics.monte_carlo.AdaptiveMonteCarloState(**kept) if kept else law.init(q)
        if kept and group["sized"] != group["lr"]:
            state = state._replace(sigma=state.sigma * (group["lr"] / group["sized"]))
        group["sized"] = group["lr"]
        changed = not all(torch.equal(a, b) for a, b in zip(self._split(state.q), parameters, strict=True))
        if changed or not kept:
            state = state._replace(q=q) if changed else state
            state = law.begin(state, potential) if potential.fixed else state
        accepted = state.accepted
        state = law.step(state, potential, noise.key(group["seed"], 1, group["made"], q.device))
        self._load(state.q)
        if torch.equal(accepted, state.accepted):
            potential.restore()
        self.state[parameters[0]] = dict(state._asdict())
        group["made"] += 1
        return state.loss.item()

    @property
    def accepted(self) -> int:
        """How many moves were accepted so far."""
        kept = self.state[self._parameters[0]]
        return int(kept["accepted"]) if kept else 0

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
        self._buffers: dict[Tensor, Tensor] = {}

    def _note(self, module: nn.Module, inputs: Any) -> None:
        """What the buffers of a module are before it is called for the first time in this step."""
        for buffer in module.buffers(recurse=False):
            if buffer not in self._buffers:
                self._buffers[buffer] = buffer.clone()

    def restore(self) -> None:
        """Put all buffers back to what they were before the step."""
        for buffer, value in self._buffers.items():
            buffer.copy_(value)

    def _value(self, q: Tensor) -> Tensor:
        self._optimizer._load(q)
        self.restore()
        hook = nn.modules.module.register_module_forward_pre_hook(self._note)
        try:
            return torch.as_tensor(self._closure(), device=q.device).detach().to(q.dtype).reshape(1)
        finally:
            hook.remove()

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


def _law(group: dict[str, Any], signal_norm: bool = False) -> dynamics.AdaptiveMonteCarlo:
    values = {name: group[name] for name in ("mean_rate", "patience", "temperature")}
    return dynamics.AdaptiveMonteCarlo(group["lr"], **values, signal_norm=signal_norm)


def _wide(dtype: torch.dtype) -> torch.dtype:
    return dtype if dtype in (torch.float32, torch.float64) else torch.float32


def _mean(values: Tensor) -> Tensor:
    """Over the processes of torch.distributed, where there are several."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.all_reduce(values)
        values /= torch.distributed.get_world_size()
    return values
