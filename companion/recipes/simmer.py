r"""Simmering of one network on MNIST or HIGGS, as in Fig. 1 (e) of the paper.

``python -m companion.recipes.simmer --help`` lists its options.

Adam trains on all points at once. The Nosé-Hoover chain of two links then begins with Adam's network and the velocities
of its last step, Eq. (39), and its temperature rises from zero in stairs. Every tenth network of its last part has a
vote. Two controls spend as many gradients: the same chain at a thousandth of the temperature, and Adam that goes on.

It is a loop over a plain module, since an ensemble of one network of this size gains nothing; the gradient is summed
over parts of the training points that fit the cache. A run that was stopped goes on as if it had not been.

Source: Babayan, Aliahmadi, van Anders (2024), Methods.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from companion.recipes import harness
from thermolib import datasets, optim
from thermolib.ground import checks
from thermolib.nets import init, losses, models
from thermolib.nets.ensemble import Ensemble

__all__ = ["ARMS", "LR", "PROBLEMS", "Problem", "Run", "Settings", "kept", "train"]

LR = STEP = 0.002  # of Adam, and the step of the chain
EARLY = (1, 3, 10)  # steps that are evaluated besides the regular ones
ARMS = ("simmering", "no heat", "Adam goes on")


@dataclass(frozen=True)
class Problem:
    """What the paper's Methods say of a problem."""

    points: Callable[[], Any]
    network: Callable[[], nn.Module]
    init: Any
    loss: Callable[[Tensor, Tensor], Tensor]
    epochs: int  # of Adam
    temperature: float  # and its rise after each stair
    stair: int
    steps: int
    last: int  # of the steps, those that vote
    part: int  # ours: points of which the gradient is taken at once


PROBLEMS = {
    "MNIST": Problem(
        lambda: datasets.mnist().train,
        models.lenet5,
        init.glorot_normal(),
        losses.cross_entropy,
        epochs=300,
        temperature=1e-3,
        stair=200,
        steps=6000,
        last=4000,
        part=250,
    ),
    "HIGGS": Problem(
        datasets.higgs,
        lambda: models.mlp((28, 512, 512, 512, 512, 1), "elu"),
        init.glorot_uniform(),
        losses.bce,
        epochs=1000,
        temperature=1e-4,
        stair=500,
        steps=15_000,
        last=12_000,
        part=1000,
    ),
}


@dataclass(frozen=True)
class Settings:
    """What a run is. Raises ValueError for another problem or arm, and for what is too small to be run.

    Parameters
    ----------
    problem : MNIST or HIGGS.
    arm : simmering, or a control that spends as many gradients: no heat, Adam goes on.
    split : which random split of the data, with initial weights of its own.
    seed : of the splits and of the initial weights.
    points : to train on; 1,000 others are tested.
    share : of the paper's epochs, steps and stairs.
    """

    problem: str = "MNIST"
    arm: str = "simmering"
    split: int = 0
    seed: int = 0
    points: int = 10_000
    share: float = 1.0

    def __post_init__(self) -> None:
        checks.one_of("problem", self.problem, tuple(PROBLEMS))
        checks.one_of("arm", self.arm, ARMS)
        checks.integer("split", self.split, 0)
        checks.integer("points", self.points, 1)
        if not 0.01 <= self.share <= 1:
            raise ValueError(f"share={self.share} is not allowed: it must be in [0.01, 1]")

    def of_paper(self, name: str) -> int:
        """Epochs, steps, or the length of a stair, in this run's share of the paper's."""
        return max(2, round(self.share * getattr(PROBLEMS[self.problem], name)))


class Run(harness.Run):
    """A network, its split of the data, and the law by which it moves."""

    device = torch.device("cpu")

    def __init__(self, settings: Settings) -> None:
        self.settings = s = settings
        self.problem = p = PROBLEMS[s.problem]
        parts = datasets.random_splits(p.points(), s.points, s.split + 1, s.seed, test=1000)
        (self.x, self.y), (self.tests, self.truth) = ((part.x[s.split], part.y[s.split]) for part in parts)
        self.network = p.network()
        drawn = Ensemble(p.network(), [s.split], p.init, seed=s.seed, device="cpu")
        start = drawn.named(drawn.q)
        with torch.no_grad():
            for name, value in self.network.named_parameters():
                value.copy_(start[name][0])
                if value.ndim == 4:  # convolutions like their channels last
                    value.data = value.data.contiguous(memory_format=torch.channels_last)
        self.before: list[Tensor] | None = None  # the parameters before Adam's last step
        self.votes, self.chances = (torch.zeros(1, dtype=torch.float64) for _ in range(2))
        self.seen = 0
        adam = torch.optim.Adam(self.network.parameters(), lr=LR, eps=1e-7)
        super().__init__("test loss", network=self.network, law=adam)

    def warm(self) -> None:
        """Adam is at its end: what comes next takes over."""
        s, p = self.settings, self.problem
        if s.arm == "Adam goes on":
            return
        T = p.temperature * (1e-3 if s.arm == "no heat" else 1.0)
        begin = self.before or [value.detach() for value in self.network.parameters()]
        how: dict[str, Any] = {"increment": T, "stair": s.of_paper("stair"), "previous": begin, "previous_lr": LR}
        self._parts["law"] = optim.NoseHooverChain(self.network.parameters(), STEP, T, 2, 1.0, **how)
        self.before = None

    def state_dict(self) -> dict[str, Any]:
        """What the next step needs."""
        own = {"before": self.before, "votes": self.votes, "chances": self.chances, "seen": self.seen}
        return super().state_dict() | own

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        if state["made"] >= self.settings.of_paper("epochs"):
            self.warm()
        super().load_state_dict(state)
        for name in ("before", "votes", "chances", "seen"):
            setattr(self, name, state[name])

    def advance(self, look: bool) -> None:
        """One step on all training points, a row where it is time for one, and a vote where it has one.

        The rows are the same wherever a run was stopped, so that ``look`` adds none.
        """
        s, epochs, steps = self.settings, self.settings.of_paper("epochs"), self.settings.of_paper("steps")
        if self.made == epochs - 1:
            self.before = [value.detach().clone() for value in self.network.parameters()]
        law, first = self._parts["law"], self.made < epochs
        loss = self._gradient()
        law.step()
        self.made += 1
        step = self.made if first else self.made - epochs
        regular = step in EARLY or step % (10 if first else 50) == 0 or step == (epochs if first else steps)
        votes = not first and step > steps - s.of_paper("last") and step % 10 == 0
        if regular or votes:
            out = self._said()
            if regular:
                row: dict[str, Any] = {"phase": "adam" if first else "chain", "step": step, "train loss": loss}
                self.rows.append(row | self._judged(out) | {"<p^2>": self._heat()})
            if votes:
                self._count(out)
        if self.made == epochs:
            self.warm()
        if self.made == epochs + steps:
            row = {"phase": "votes", "step": steps, "train loss": math.nan}
            self.rows.append(row | self.answer())

    def early(self, steps: int) -> list[dict[str, float]]:
        """The rows of the next steps."""
        before = len(self.rows)
        for _ in range(steps):
            self.advance(False)
        return self.rows[before:]

    def answer(self) -> dict[str, float]:
        """Accuracy by votes, and the log-loss of the mean of the probabilities, in which none counts more than 700."""
        several = self.votes.shape[-1] > 1
        best = self.votes.argmax(-1) if several else (self.votes[..., 0] > self.seen / 2).to(self.truth.dtype)
        mean = self.chances / self.seen
        if several:
            log = mean.gather(1, self.truth[:, None]).log()
        else:
            y, one = self.truth.double(), mean[:, 0]
            log = torch.xlogy(y, one) + torch.special.xlog1py(1 - y, -one)
        right = (best == self.truth).double().mean()
        return {"test loss": -float(log.clamp_min(-700).mean()), "test accuracy": float(right)}

    def _gradient(self) -> float:
        """Of the mean loss over all training points; returns that loss."""
        self.network.zero_grad(set_to_none=True)
        whole, size = 0.0, self.problem.part
        for x, y in zip(self.x.split(size), self.y.split(size), strict=True):
            part = self.problem.loss(self.network(x), y) * (len(x) / len(self.x))
            part.backward()
            whole += float(part.detach())
        return whole

    @torch.no_grad()
    def _said(self) -> Tensor:
        return self.network(self.tests)

    def _judged(self, out: Tensor) -> dict[str, float]:
        best = out.argmax(-1) if out.shape[-1] > 1 else (out[..., 0] > 0).to(self.truth.dtype)
        right = float((best == self.truth).double().mean())
        return {"test loss": float(self.problem.loss(out, self.truth)), "test accuracy": right}

    def _heat(self) -> float:
        """The mean square of the chain's velocities, which is the temperature in equilibrium."""
        law = self._parts["law"]
        if not isinstance(law, optim.NoseHooverChain):
            return math.nan
        values = list(self.network.parameters())
        squares = sum(float(law.state[w]["p"].double().square().sum()) for w in values)
        return squares / sum(w.numel() for w in values)

    def _count(self, out: Tensor) -> None:
        out, several = out.double(), out.shape[-1] > 1
        chance = out.softmax(-1) if several else out.sigmoid()
        vote = nn.functional.one_hot(out.argmax(-1), out.shape[-1]) if several else out > 0
        self.votes, self.chances = self.votes + vote.double(), self.chances + chance
        self.seen += 1


def kept(folder: Path) -> tuple[Settings, pd.DataFrame, dict[str, Any]]:
    """The settings of a run that lies in a folder, its history, and where it comes from."""
    about = json.loads((folder / "provenance.json").read_text(encoding="utf-8"))
    settings = Settings(**{field.name: about[field.name] for field in fields(Settings)})
    return settings, pd.read_csv(folder / "history.csv"), about


def train(
    settings: Settings, out: Path | str | None = None, *, until: int | None = None, progress: bool = False
) -> pd.DataFrame:
    """Make a run, and return its history.

    Parameters
    ----------
    settings : of the run.
    out : a folder for the history and the checkpoint, from which the same call goes on.
    until : stop after so many gradients, Adam's among them; a later call goes on.
    progress : show a bar.

    Returns
    -------
    DataFrame : ``phase``, adam, chain (also of Adam that goes on) or votes; ``step`` of it from 1; ``train loss``, of
        the step's gradient and so before it; ``test loss`` and ``test accuracy`` after it, of the network or of all
        votes; ``<p^2>``, the mean square of the chain's velocities.

    Raises
    ------
    ValueError : settings that cannot be; a checkpoint of other settings or other code.
    """
    run = Run(settings)
    if out is not None:
        run.keep(out, settings.arm, asdict(settings), [train], "numpy", "pandas")
    whole = settings.of_paper("epochs") + settings.of_paper("steps")
    return run.drive(whole, "gradients", until, 10 * whole, 20, progress=progress)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    harness.command(Settings, train, arguments)


if __name__ == "__main__":
    main()
