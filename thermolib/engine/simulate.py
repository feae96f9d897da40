"""Runs of an integrator on any potential."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from thermolib.dynamics.base import Integrator
from thermolib.engine.history import History
from thermolib.engine.job import Job, Source
from thermolib.engine.loop import positions, run
from thermolib.ground import checks, noise

__all__ = ["simulate"]

Observation = Callable[[Any], Tensor]


class FunctionPotential:
    """A function ``[R, P] -> [R]`` as integrators see it."""

    fixed = True

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        self.loss = function

    def force(self, q: Tensor) -> Tensor:
        return -torch.func.grad(lambda x: self.loss(x).sum())(q)


class NoisyPotential(FunctionPotential):
    """The same with Gaussian noise in each evaluation of the force of a step."""

    def __init__(self, function: Callable[[Tensor], Tensor], key: noise.Key, spread: Tensor) -> None:
        super().__init__(function)
        self.key, self.spread, self.calls = key, spread, 0

    def force(self, q: Tensor) -> Tensor:
        self.calls += 1
        return super().force(q) + self.spread * self.key.normal(noise.DATA + self.calls, q.shape[1], q.dtype)


def simulate(
    potential: Callable[[Tensor], Tensor],
    integrator: Integrator,
    start: Any,
    steps: int,
    *,
    seed: int = 0,
    gradient_noise: float | Tensor = 0.0,
    observe: Mapping[str, Observation] | None = None,
    every: int = 1,
    compile: bool | str = "auto",
    checkpoint: str | Path | None = None,
    checkpoint_seconds: float = 60.0,
    progress: bool = True,
) -> History:
    r"""Run an integrator on a potential :math:`U`, for all replicas at once.

    Parameters
    ----------
    potential : a function ``[R, P] -> [R]``; forces are its negative gradient.
    integrator : any of :mod:`thermolib.dynamics`.
    start : positions ``[R, P]``, a state of the integrator, or the ``final`` of an earlier run, which is continued.
    steps : how many.
    seed : of the noise.
    gradient_noise : :math:`\sigma_G`, standard deviation of a Gaussian error of the force, drawn anew for every
        coordinate and evaluation, as a minibatch would give it; a number, or a tensor of one value per replica.
    observe : name to function of the state, which has ``q`` and, where there are momenta, ``p``, both ``[R, P]``,
        taken at the end of a whole step; it returns one number per replica.
    every : steps between observations. The first and the last state are observed too.
    compile : True, False, or "auto": as the run did that ``start`` is the ``final`` of, else where it is possible and
        the run is long enough to repay it; or "trace": the operations of a step are recorded and replayed, for deep
        networks, whose compilation takes minutes; in long runs with the noise compiled.
    checkpoint : a file to save to every ``checkpoint_seconds``, and to continue from if it is there.
    progress : show a bar on terminals and in notebooks.

    Returns
    -------
    History

    Raises
    ------
    ValueError : start that is not ``[R, P]``, hyperparameters of another number of replicas, a negative number of
        steps or gradient noise, a checkpoint of another run.
    """
    q = positions(start, integrator)
    key = noise.key(seed, q.shape[0], device=q.device)
    checks.at_least("gradient_noise", gradient_noise)
    spread = torch.as_tensor(gradient_noise, dtype=q.dtype, device=q.device).reshape(-1, 1)
    checks.length("gradient_noise", spread, q.shape[0])
    if bool(spread.any()):

        def noisy(step: Tensor, order: None, seed: Tensor, replica: Tensor, spread: Tensor) -> NoisyPotential:
            return NoisyPotential(potential, noise.Key(seed, replica, step), spread)

        source = Source(noisy, (key.seed, key.replica, spread.expand(q.shape[0], 1).contiguous()))
    else:
        source = Source(lambda step, order: FunctionPotential(potential))
    job = Job(integrator, source, key, steps, every, dict(observe or {}), chunk=q.shape[0])
    return run(job, start, compile, checkpoint, checkpoint_seconds, progress, torch.get_num_threads(), 1)
