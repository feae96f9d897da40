"""Ten methods under one budget: what is tuned of each, what a step of it costs, and which trial was best."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from scipy.stats import qmc
from torch import Tensor

from companion import plots
from thermolib import dynamics
from thermolib.dynamics.base import Integrator
from thermolib.ground import checks

__all__ = ["GRADIENT", "METHODS", "Method", "Record", "best", "panels", "repeated", "trials"]

#: Evaluations of the loss that a gradient costs: its own pass forward, and a pass backward of twice the work.
GRADIENT = 3

Ranges = Mapping[str, tuple[float, float]]


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


#: The ten, in the order of the papers. ``forgotten`` is one minus the coefficient of momentum.
METHODS = {
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


def trials(ranges: Ranges, number: int, seed: int = 0) -> dict[str, Tensor]:
    """Hyperparameters to try: points of a scrambled Halton sequence, each range filled evenly in its logarithm.

    Parameters
    ----------
    ranges : hyperparameter to its lowest and highest value, both above zero.
    number : of trials.
    seed : of the scrambling.

    Returns
    -------
    hyperparameter to its values, ``[number]`` each.

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
    values = torch.from_numpy(np.exp(low + (high - low) * points)).float()
    return dict(zip(ranges, values.unbind(1), strict=True))


def best(found: Mapping[str, Tensor], scores: Any) -> dict[str, float]:
    """The hyperparameters of the trial whose mean score is the highest.

    Parameters
    ----------
    found : of :func:`trials`.
    scores : ``[trials, runs]``; a run that is not finite counts as the lowest score there is.

    Raises
    ------
    ValueError : scores of another number of trials, or none that is finite.
    """
    values = np.asarray(scores, dtype=np.float64)
    number = len(next(iter(found.values())))
    if values.ndim != 2 or len(values) != number:
        raise ValueError(f"scores has the shape {values.shape}: it must be [{number}, runs]")
    means = np.where(np.isfinite(values).all(1), values.mean(1), -np.inf)
    if not np.isfinite(means).any():
        raise ValueError("scores holds no trial that is finite: the ranges are too wide")
    return {name: float(f"{float(column[int(means.argmax())]):.4g}") for name, column in found.items()}


def repeated(
    setting: Mapping[str, float], size: str, factors: Sequence[float], each: Sequence[int]
) -> dict[str, Tensor]:
    """One setting at several step sizes, as one value per replica: ``each[i]`` replicas have ``factors[i]`` times it.

    Parameters
    ----------
    setting : hyperparameter to its value, as :func:`best` returns it.
    size : the hyperparameter that is the step size.
    factors, each : multiples of it, and how many replicas have them.
    """
    factor = torch.tensor(factors, dtype=torch.float32).repeat_interleave(torch.tensor(each))
    return {name: value * (factor if name == size else torch.ones_like(factor)) for name, value in setting.items()}


class Record:
    r"""What a batch printed for a chapter: the settings that it chose, and the scores that they had.

    It reads lines of three kinds, of which the last two stand below a line that begins with the problem::

        spirals, SGD, tuned: {"step_size": 0.5}
        spirals: accuracy after 10000 gradients, 16 runs
          SGD          0.812 ± 0.004 ...
        spirals: spread between runs; temperatures; change at other step sizes
          SGD          sd 0.010; ... x0.5 -0.010 x2 +0.003

    Parameters
    ----------
    path : of the text, which need not be there: then there are no settings, scores or changes.

    Raises
    ------
    ValueError : in :meth:`setting`, a problem and method that the text has no setting of, or one that is not JSON.
    """

    def __init__(self, path: str | Path) -> None:
        path = Path(path)
        self._text = path.read_text(encoding="utf-8") if path.is_file() else ""

    def setting(self, problem: str, method: str) -> dict[str, float]:
        """The hyperparameters that were chosen; ValueError where there are none."""
        line = rf"^{re.escape(problem)}, {re.escape(method)}, tuned: (.*)$"
        if found := re.search(line, self._text, re.M):
            return json.loads(found[1])
        raise ValueError(f"there is no record of the tuning of {method} on {problem}: set trials, as in -p trials=32")

    def scores(self, problem: str) -> dict[str, tuple[float, float]]:
        """Method to mean and standard error; empty where there is no record."""
        lines = re.findall(r"^  (\S+) +(\S+) ± (\S+)", self._below(problem, "runs"), re.M)
        return {name: (float(mean), float(error)) for name, mean, error in lines}

    def changes(self, problem: str) -> dict[str, dict[float, float]]:
        """Method to the change of its score at multiples of its step size; empty where there is no record."""
        lines = re.findall(r"^  (\S+) .*?((?: x[\d.]+ \S+)+)$", self._below(problem, "step sizes"), re.M)
        return {
            name: {float(f): float(change) for f, change in re.findall(r"x([\d.]+) (\S+)", text)}
            for name, text in lines
        }

    def _below(self, problem: str, end: str) -> str:
        return "".join(re.findall(rf"^{re.escape(problem)}: .*{end}\n((?:  .*(?:\n|\Z))+)", self._text, re.M))


def panels(
    scores: Mapping[str, np.ndarray],
    frames: Mapping[str, pd.DataFrame],
    near: Mapping[str, Mapping[float, float]],
    *,
    score: str,
    along: str,
    recorded: Mapping[str, tuple[float, float]],
    lowest: float = -math.inf,
) -> tuple[Axes, Axes]:
    """One figure for a problem: scores at the end, what happens along the way, other step sizes, and two thermometers.

    Parameters
    ----------
    scores : method to the score of each run, at the end.
    frames : method to a tidy table with ``gradients``, ``replica``, the column ``along``, and ``configurational`` and
        ``kinetic`` where there are such temperatures; medians of these are drawn.
    near : method to the change of the mean score at multiples of its step size.
    score, along : what the axis of the scores says; the column that is drawn along the way.
    recorded : method to a recorded mean score and its standard error, drawn as squares.
    lowest : scores below are drawn there.

    Returns
    -------
    the axes of the scores and of the curves.
    """
    _, ((end, way), (other, heat)) = plt.subplots(2, 2, figsize=(9, 6.6))
    for row, (name, values) in enumerate(scores.items()):
        colour, mean = plots.METHOD_COLOURS[name], float(values.mean())
        end.errorbar(
            max(mean, lowest), row, xerr=values.std(ddof=1) / len(values) ** 0.5, fmt="o", color=colour, capsize=2
        )
        if name in recorded:
            there, error = recorded[name]
            end.errorbar(max(there, lowest), row + 0.3, xerr=error, fmt="s", mfc="white", color=colour, ms=4)
        plots.mean_curve(way, frames[name], "gradients", along, color=colour)
        points = sorted({1.0: 0.0, **near.get(name, {})}.items())
        base = recorded[name][0] if name in recorded else mean
        other.plot([f for f, _ in points], [max(base + c, lowest) for _, c in points], "o-", color=colour, ms=3)
        later = frames[name][frames[name]["gradients"] > 0]
        for column, line in (("configurational", "-"), ("kinetic", ":")):
            if column in later:
                median = later.groupby("gradients")[column].median()
                heat.plot(median.index, median.where(median > 1e-12), line, color=colour, lw=1.4)
    end.set_yticks(range(len(scores)), list(scores))
    for tick, name in zip(end.get_yticklabels(), scores, strict=True):
        tick.set_color(plots.METHOD_COLOURS[name])
    end.invert_yaxis()
    end.set(xlabel=score, title="at the end; squares: recorded" if recorded else "at the end")
    way.set(xlabel="gradients", ylabel=along, title="along the way")
    other.set_xscale("log", base=2)
    other.xaxis.set_major_formatter("{x:g}")
    other.set(xlabel="step size, in units of the chosen one", ylabel=score, title="at other step sizes")
    heat.set_yscale("log")
    heat.set(xlabel="gradients", ylabel="temperature", title="configurational (lines), kinetic (dotted)")
    return end, way
