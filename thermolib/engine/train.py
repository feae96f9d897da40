"""Runs of an integrator on an ensemble of networks and its data."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils.data import DataLoader

from thermolib.data import Data, Splits
from thermolib.dynamics.base import Integrator
from thermolib.engine.history import History
from thermolib.engine.job import Job, Source
from thermolib.engine.loop import positions, run
from thermolib.ground import checks, noise
from thermolib.nets.ensemble import Batch, Ensemble, Loss, Prior

__all__ = ["Collector", "train"]

#: Networks with fewer parameters than this run one chunk per thread; larger ones use all threads for one chunk.
SMALL = 1 << 15


class Collector(Protocol):
    """What gathers samples along a run: as :class:`thermolib.Predictions` and :class:`thermolib.Samples` do.

    It is asked ``every`` steps, but for the first ``after`` of them.
    """

    after: int
    every: int

    def begin(self, hyperparameters: Mapping[str, Tensor], /) -> None:
        """Hear of the hyperparameters of a run, ``[R]`` each, before its first step."""

    def read(self, ensemble: Ensemble, q: Tensor, rows: Tensor, /) -> Tensor:
        """A sample of the replicas ``rows`` at positions ``q``, ``[R, P]``."""

    def add(self, sample: Tensor, step: int, part: int, diverged: Tensor, /) -> None:
        """Keep a sample, of a step and of the replicas of a chunk, of which some have diverged, ``[R]``."""

    def saved(self, part: int, /) -> Any:
        """What a checkpoint keeps of a chunk's samples: tensors, numbers and lists of them, which do not change."""

    def restore(self, part: int, saved: Any, /) -> None:
        """Take back what a checkpoint has kept."""


def train(
    ensemble: Ensemble,
    integrator: Integrator,
    data: Any,
    *,
    loss: Loss,
    steps: int,
    batch_size: int | None = None,
    every: int | None = None,
    observe: Mapping[str, Any] | None = None,
    collect: Collector | None = None,
    prior: Prior | None = None,
    start: Any = None,
    compile: bool | str = "auto",
    checkpoint: str | Path | None = None,
    checkpoint_seconds: float = 60.0,
    workers: int | None = None,
    progress: bool = True,
) -> History:
    r"""Train all replicas of an ensemble: the potential is the loss of the current minibatch.

    Each replica goes through the training set in a random order of its own, drawn anew for every epoch, in
    consecutive minibatches; points that do not fill a last one sit out that epoch. On a CPU, small networks run in
    chunks of a fixed number of replicas, each chunk on one thread, the chunks side by side on the workers. Where the
    data are :class:`thermolib.datasets.Splits`, each replica has a training set of its own.

    Parameters
    ----------
    ensemble : the networks; its seed is the seed of the run.
    integrator : any of :mod:`thermolib.dynamics`; its hyperparameters are numbers, tensors of one value per replica, or
        functions of the step (:mod:`thermolib.schedules`).
    data : a training and a test set, or a training set alone: a :class:`thermolib.datasets.Split` or Splits, another
        pair of inputs and targets, or a ``TensorDataset``, ``Dataset`` or ``DataLoader`` of such pairs. Inputs are one
        tensor, or a tuple or dictionary of them, which are the arguments of the module.
    loss : of :mod:`thermolib.losses`, or a function of the output of one network and the targets.
    steps : how many minibatches.
    batch_size : points per minibatch; if not given, that of a ``DataLoader``, else the whole set.
    every : steps between observations, a hundredth of the run if not given.
    observe : name to function of the state, or to an observation of :mod:`thermolib.observe`.
    collect : what gathers samples along the run, at the points where the force is taken:
        :class:`thermolib.Predictions` or :class:`thermolib.Samples`.
    prior : what is known before the data, :math:`\pi(\theta)`: the precision :math:`\lambda` of a normal law around
        zero, or a function of one network's parameters by name that returns :math:`-\ln\pi`. The potential is then
        :math:`L - \frac1N\ln\pi`, with :math:`-\ln\pi = \frac\lambda2|\theta|^2`, and where L is the mean of
        :math:`-\ln p(y|x, \theta)` over the N training points, the temperature :math:`1/N` samples the posterior.
    start : positions ``[R, P]``, a state, or the ``final`` of an earlier run; the ensemble's ``q`` if not given.
    compile : True, False, or "auto": as the run did that ``start`` is the ``final`` of, else where it is possible and
        the run is long enough to repay it; or "trace": the operations of a step are recorded and replayed, for deep
        networks, whose compilation takes minutes; in long runs with the noise compiled.
    checkpoint : a file to save to every ``checkpoint_seconds``, and to continue from if it is there.
    workers : processes side by side, as many as torch has threads if not given.
    progress : show a bar on terminals and in notebooks.

    Returns
    -------
    History

    Raises
    ------
    ValueError : a batch larger than the data, NaN in the data, hyperparameters of another number of replicas, a
        checkpoint of another run, a module that does not return one tensor.
    """
    steps = checks.integer("steps", steps, 0)
    data = data.train if isinstance(data, Data) else data
    if isinstance(data, DataLoader) and batch_size is None:
        batch_size = data.batch_size
    part = ensemble.checked(data)
    own = isinstance(part, Splits)
    rows = part.y.shape[own]
    tensors, shape = pytree.tree_flatten(part)
    penalty = ensemble.penalty(prior, rows)
    if batch_size is None:

        def whole(step: Tensor, order: Any, *tensors: Tensor) -> Batch:
            x, y = pytree.tree_unflatten(tensors, shape)
            return Batch(ensemble, loss, x, y, own, penalty)

        source = Source(whole, tuple(tensors), own=len(tensors) * own)
    else:
        batch = checks.integer("batch_size", batch_size, 1)
        if batch > rows:
            raise ValueError(f"batch_size={batch} is larger than the data: it must be at most {rows}")
        period = rows // batch
        within = torch.arange(batch, device=ensemble.device)

        def minibatch(step: Tensor, order: Tensor, *constants: Tensor) -> Batch:
            *tensors, within = constants
            points = order.index_select(1, step % period * batch + within)
            chosen = (torch.arange(len(points), device=points.device)[:, None], points) if own else points
            x, y = pytree.tree_unflatten([t[chosen] for t in tensors], shape)
            return Batch(ensemble, loss, x, y, True, penalty)

        source = Source(minibatch, (*tensors, within), rows, period, own=len(tensors) * own)
    key = noise.key(ensemble.seed, ensemble.replicas, device=ensemble.device)
    bound = {name: o.bind(ensemble) if hasattr(o, "bind") else o for name, o in (observe or {}).items()}
    few = slice(rows if batch_size is None else batch)
    few_inputs = pytree.tree_map(lambda t: t[:1, few] if own else t[few], part.x)
    ensemble.predict(few_inputs, ensemble.q[:1], own)  # what it refuses, now
    small = ensemble.device.type == "cpu" and ensemble.parameters < SMALL
    chunk = min(len(ensemble), _chunk(ensemble.parameters)) if small else len(ensemble)
    job = Job(
        integrator.bind(ensemble.sizes),
        source,
        key,
        steps,
        max(1, steps // 100) if every is None else every,
        bound,
        chunk,
        what=f"{ensemble.module} {getattr(loss, '__qualname__', '')}{_named(prior)}",
        collect=None if collect is None else _Reader(collect, ensemble),
    )
    threads = torch.get_num_threads()
    workers = checks.integer("workers", threads if workers is None else workers, 1)
    begin = ensemble.q if start is None else start
    if positions(begin, integrator).shape[1] != ensemble.parameters:
        raise ValueError(
            f"start has {positions(begin, integrator).shape[1]} parameters: it must have {ensemble.parameters}"
        )
    return run(job, begin, compile, checkpoint, checkpoint_seconds, progress, 1 if small else threads, workers)


def _named(prior: Prior | None) -> str:
    """A function by its name; what it returns shows in the loss."""
    return "" if prior is None else f" and the prior {getattr(prior, '__qualname__', '') if callable(prior) else prior}"


class _Reader:
    """A collector and the ensemble that it reads."""

    def __init__(self, collect: Collector, ensemble: Ensemble) -> None:
        self.collector, self.after, self.every, self.add = collect, collect.after, collect.every, collect.add
        self.begin, self.saved, self.restore = collect.begin, collect.saved, collect.restore
        self.read = functools.partial(collect.read, ensemble)


def _chunk(parameters: int) -> int:
    """Replicas per chunk: a power of two that keeps a step's tensors in the cache of one core."""
    return 2 ** min(6, max(4, round(math.log2((1 << 14) / parameters))))
