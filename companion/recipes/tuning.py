"""Many methods under one budget: what is tuned of each, what a step of it costs, and which trial was best."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import torch
from scipy.stats import qmc
from torch import Tensor

import thermolib as tl
from companion.recipes.looks import EARLY, looks_until
from thermolib import dynamics
from thermolib.dynamics.base import Integrator, Value
from thermolib.ground import checks, schedules

__all__ = [
    "GRADIENT", "METHODS", "REFERENCES", "TEN", "AdamW", "Method", "best", "effective", "follow", "settings",
    "split_r_hat", "stops", "trials",
]  # fmt: skip

#: Steps that run plainly, so that a slice of a record that ends with them compiles nothing.
PLAIN = 10
#: Evaluations of the loss that a gradient costs: its own pass forward, and a pass backward of twice the work.
GRADIENT = 3

Ranges = Mapping[str, tuple[float, float]]


@dataclass(frozen=True)
class AdamW(dynamics.Adam):
    r"""Adam with weight decay beside its step, :math:`\theta \leftarrow \theta - h\lambda\theta` (``decay``).

    Source: Loshchilov and Hutter (2019), algorithm 2, with the schedule in the step size.
    """

    structure: ClassVar[tuple[str, ...]] = ("clip",)

    decay: Value = 0.01

    def step(self, state: dynamics.gradient.AdamState, potential: Any, key: Any) -> dynamics.gradient.AdamState:
        self = self.columns(state.q)
        new = super().step(state, potential, key)
        return new._replace(q=new.q - self.step_size * self.decay * state.q)


@dataclass(frozen=True)
class Method:
    """A method as a comparison sees it.

    Parameters
    ----------
    make : the integrator, from ``steps``, how many the run will have, and hyperparameters by name.
    size : the hyperparameter that is its step size.
    losses : evaluations of the loss alone that a step makes on a fixed potential and on minibatches; none where it
        evaluates one gradient.

    Nothing is checked before ``make`` is called, which raises ValueError for a value that the integrator refuses and
    TypeError for a hyperparameter that it does not have.
    """

    make: Callable[..., Integrator]
    size: str = "step_size"
    losses: tuple[int, int] | None = None

    def steps(self, gradients: int, minibatches: bool) -> int:
        r"""Steps that a budget of so many gradients pays for, a gradient counting as :data:`GRADIENT` losses.

        .. math:: n = g \quad\text{or, where a step is } l \text{ losses,}\quad n = \lfloor 3g/l \rfloor

        Parameters
        ----------
        gradients : the budget :math:`g`.
        minibatches : whether each step has other data, so that the second of ``losses`` counts.

        Raises
        ------
        ValueError : a budget below one gradient.
        """
        checks.integer("gradients", gradients, 1)
        return gradients if self.losses is None else GRADIENT * gradients // self.losses[minibatches]


def _plain(make: Callable[..., Integrator]) -> Callable[..., Integrator]:
    return lambda steps, **given: make(**given)


def _annealed(steps: int, step_size: Any, decay: Any) -> Integrator:
    return AdamW(schedules.cosine(step_size, steps), decay=decay)


#: The ten, in the order of the papers. ``forgotten`` is one minus the coefficient of momentum.
TEN = {
    "SGD": Method(_plain(dynamics.SGD)),
    "momentum": Method(lambda steps, lr, forgotten: dynamics.Momentum(lr, 1 - forgotten), size="lr"),
    "Adam": Method(_plain(dynamics.Adam)),
    "SGLD": Method(_plain(dynamics.SGLD)),
    "BAOAB": Method(_plain(partial(dynamics.Langevin, "BAOAB"))),
    "LOL": Method(_plain(dynamics.LOL)),
    "AdLaLa": Method(_plain(dynamics.AdLaLa)),
    "CoolMomentum": Method(lambda steps, lr, forgotten: dynamics.CoolMomentum(lr, 1 - forgotten, steps), size="lr"),
    "aMC": Method(_plain(dynamics.AdaptiveMonteCarlo), losses=(1, 2)),
    "Nosé-Hoover": Method(_plain(dynamics.NoseHooverChain)),
}
#: What they are measured against: the usual recipe of today, and the usual thermostat of noisy gradients.
REFERENCES = {
    "AdamW, cosine": Method(_annealed),
    "SGNHT": Method(_plain(dynamics.AdaptiveLangevin)),
}
METHODS = TEN | REFERENCES


def trials(ranges: Ranges, number: int, seed: int = 0) -> list[dict[str, float]]:
    """Hyperparameters to try: points of a scrambled Halton sequence, each range filled evenly in its logarithm.

    The first of a larger number are the same, so that a few trials are a slice of many. Values have four digits.

    Parameters
    ----------
    ranges : hyperparameter to its lowest and highest value, both above zero.
    number : of trials.
    seed : of the scrambling.

    Raises
    ------
    ValueError : fewer than one trial, no range, a range that does not rise or is not above zero.
    """
    checks.integer("number", number, 1)
    if not ranges:
        raise ValueError("ranges={} is not allowed: there must be a hyperparameter to try")
    for name, (low, high) in ranges.items():
        if not 0 < low < high < math.inf:
            raise ValueError(f"ranges[{name!r}]=({low:g}, {high:g}) is not allowed: it must rise, and be above zero")
    low, high = np.log(np.array(list(ranges.values()), dtype=np.float64)).T
    points = qmc.Halton(len(ranges), scramble=True, rng=seed).random(number)
    values = np.exp(low + (high - low) * points)
    return [{name: float(f"{v:.4g}") for name, v in zip(ranges, row, strict=True)} for row in values]


def settings(given: Sequence[Mapping[str, float]]) -> dict[str, Tensor]:
    """Settings of one method, one a replica, as the values that its integrator takes."""
    return {name: torch.tensor([one[name] for one in given], dtype=torch.float32) for name in given[0]}


def best(frame: pd.DataFrame, quality: str = "quality") -> dict[str, float]:
    """The setting of the trial whose mean over its runs is the highest at the last step; a lost run counts as worst.

    Parameters
    ----------
    frame : rows of one method on one problem with ``step``, ``setting`` (JSON) and the column ``quality``.

    Raises
    ------
    ValueError : no trial all of whose runs are finite.
    """
    end = frame[frame["step"] == frame["step"].max()]
    scores = end[quality].where(np.isfinite(end[quality]), -np.inf).groupby(end["setting"], sort=False).mean()
    if not np.isfinite(scores).any():
        raise ValueError("no trial has a finite score in all of its runs: the ranges are too wide")
    return json.loads(scores.idxmax())


def stops(steps: int, until: int, every: int) -> list[int]:
    """Where a run of ``steps`` is interrupted, up to ``until``: early, and where the even looks begin."""
    even = every * math.ceil(max(EARLY) / every)
    return looks_until(min(steps, until), every, even, steps)


def follow(
    networks: tl.Ensemble,
    law: Integrator,
    data: Any,
    steps: int,
    until: int,
    *,
    points: int = 20,
    samples: int = 0,
    **given: Any,
) -> tuple[pd.DataFrame, list[tuple[int, Tensor]]]:
    """Train for ``steps``, or up to step ``until`` of such a run, and look early, and at ``points`` even distances.

    Parameters
    ----------
    samples : how many networks of each replica to keep along the way, beside every one of the first 200 steps.
    given : what :func:`thermolib.train` takes, ``observe`` among it.

    Returns
    -------
    the observations at these looks, with the ``row`` of the replica, and the networks kept, ``[R, P]``, each with its
    step.
    """
    every, mode = max(1, steps // points), given.pop("compile", "auto")
    frames, kept, at = [], list[tuple[int, Tensor]](), 0
    start: Any = networks.q
    for look in stops(steps, until, every):
        often = 1 if look <= max(EARLY) else max(1, steps // samples) if samples else 1
        collect = tl.Samples(networks, every=often, limit=4096) if samples else None
        history = tl.train(
            networks, law, data, steps=look - at, start=start, every=every, progress=False, collect=collect,
            compile=mode if look > PLAIN else False, **given,
        )  # fmt: skip
        seen = history.frame[history.frame["step"] > at]
        frames.append(seen[seen["step"].isin((*EARLY, steps)) | (seen["step"] % every == 0)])
        if collect is not None:
            number = collect.steps
            kept += [(at + n if number[-1] <= look - at else n, q) for n, q in zip(number, collect, strict=True)]
        at, start = look, dataclasses.replace(history.final, mode=None)
    found = pd.concat(frames, ignore_index=True)
    found["row"] = found.groupby("step").cumcount()
    return found[["step", "row", *given.get("observe", {})]], kept


def effective(values: Any) -> np.ndarray:
    r"""Effective samples of chains ``[S, ...]``: :math:`S / (1 + 2\sum_k \rho_k)`, at most S.

    The sum ends where a pair of neighbouring correlations is no longer positive (Geyer 1992). A chain that does not
    move has one.
    """
    x = np.asarray(values, dtype=float)
    n, x = len(x), x - x.mean(0)
    power = np.abs(np.fft.rfft(x, 2 * n, axis=0)) ** 2
    covariance = np.fft.irfft(power, axis=0)[:n]
    still = covariance[0] <= 1e-12 * n
    rho = covariance / np.where(still, 1.0, covariance[0])
    pairs = rho[0 : n - n % 2 : 2] + rho[1:n:2][: n // 2]
    positive = np.cumprod(pairs > 0, axis=0)
    time = np.maximum(2 * (pairs * positive).sum(0) - 1, 1.0)
    return np.where(still, 1.0, n / time)


def split_r_hat(values: Any) -> np.ndarray:
    r"""How much more chains ``[S, C, ...]`` differ than each moves: :math:`\hat R` of their halves, 1 where they agree.

    Source: Gelman, Carlin, Stern, Dunson, Vehtari, Rubin (2013), section 11.4.
    """
    x = np.asarray(values, dtype=float)
    half = len(x) // 2
    x = np.concatenate([x[:half], x[half : 2 * half]], 1)
    within, between = x.var(0, ddof=1).mean(0), x.mean(0).var(0, ddof=1)
    return np.sqrt((half - 1) / half + between / np.maximum(within, 1e-12))
