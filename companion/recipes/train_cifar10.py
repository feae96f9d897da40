r"""ResNet-20 on CIFAR-10 as the authors of CoolMomentum trained it.

``python -m companion.recipes.train_cifar10 --help`` lists its options.

Minibatches of 32 for 200 epochs; images minus their mean, pixel by pixel; shifted by up to a tenth of their width in
either direction, between the pixels too, and mirrored at random; the loss is the cross entropy plus
:math:`10^{-4}\,|w|^2` of the kernels. Adam and momentum lower their rate by 10 after epochs 80, 120 and 160, and by 2
after 180, of 200; CoolMomentum cools over the whole run.

The data lie on the device and are shifted and mirrored there, a minibatch at a time. On a GPU everything up to the
gradient is one CUDA graph. A run that was stopped goes on as if it had not been.

Source: Borysenko and Byshkin (2021), section 5; He, Zhang, Ren, Sun (2016), section 4.2; the example of Keras.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor

from companion.recipes import cifar10, harness
from companion.recipes.cifar10 import DROPS, RATES, Images, Minibatches, Network, Settings, kept
from thermolib import datasets, optim
from thermolib.data import Data, Split
from thermolib.ground import checks
from thermolib.nets.models import resnet20
from thermolib.observe import Thermometer

__all__ = ["DROPS", "RATES", "Run", "Settings", "kept", "train"]

PENALTY = 1e-4


class Run(harness.Run):
    """A network, its data and its optimizer.

    Takes the first ``settings.images`` and ``settings.tests`` of the data, as :func:`thermolib.datasets.cifar10` has
    them. The initial parameters are drawn from ``settings.seed``, and PyTorch's own generator on the CPU is left as it
    was. Raises ValueError for fewer images than the settings ask for and for a device that is not there.
    """

    def __init__(self, settings: Settings, data: Data, device: torch.device | str | None = None) -> None:
        self.settings = s = settings
        self.device = checks.device(device)
        train = Split(data.train.x[: s.images], data.train.y[: s.images])
        test = Split(data.test.x[: s.tests], data.test.y[: s.tests])
        if len(train.x) < s.images or len(test.x) < s.tests:
            raise ValueError(f"images={s.images}, tests={s.tests}: there are {len(train.x)} and {len(test.x)}")
        self.images = Images(train, pixels=s.pixels, device=self.device)
        self.test = Images(test, self.images.mean, pixels=s.pixels, device=self.device)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(s.seed)
            body = resnet20(width=s.width)
        self.network = Network(body.to(self.device))
        parameters = list(self.network.parameters())
        assert s.lr is not None and s.rho0 is not None
        self.optimizer: torch.optim.Optimizer
        if s.optimizer == "adam":
            self.optimizer = torch.optim.Adam(parameters, s.lr, betas=(0.9, 0.999), eps=1e-7)
        elif s.optimizer == "momentum":
            self.optimizer = torch.optim.SGD(parameters, s.lr, momentum=s.rho0)
        else:
            self.optimizer = optim.CoolMomentum(parameters, s.lr, s.rho0, steps=s.epochs * s.steps)
        super().__init__("running loss", network=self.network, optimizer=self.optimizer)
        self.minibatches = Minibatches(self.images, s.batch, s.seed)
        self._running = torch.zeros((), dtype=torch.float64, device=self.device)
        self._graph: torch.cuda.CUDAGraph | None = None

    def _loss(self, x: Tensor, y: Tensor, reduction: str = "mean") -> tuple[Tensor, Tensor]:
        """Cross entropy and logits."""
        low = self.settings.precision == "bfloat16"
        x = x.contiguous(memory_format=torch.channels_last)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=low, cache_enabled=False):
            logits = self.network(x)
        return F.cross_entropy(logits.float(), y, reduction=reduction), logits

    def _gradient(self) -> None:
        """The gradient of the next minibatch; nothing in here asks the device for a number."""
        vector = self.network.vector
        assert vector.grad is not None
        x, y = self.minibatches.next()
        vector.grad.zero_()
        loss, _ = self._loss(x, y)
        loss.backward()
        kernels = slice(self.network.kernels)
        vector.grad[kernels].add_(vector.detach()[kernels], alpha=2 * PENALTY)
        self._running += loss.detach() + self._penalty()

    def begin(self, epoch: int) -> None:
        """Get ready for the steps of an epoch, counted from 0."""
        self.network.train()
        self.minibatches.plan(epoch)
        if self.device.type == "cuda" and self._graph is None:
            self._graph = self.network.captured(self._gradient)
            self.minibatches.plan(epoch)
        self._running.zero_()
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.rate(epoch)

    def step(self) -> None:
        """One step; nothing in here waits for the device."""
        if self._graph is None:
            self._gradient()
        else:
            self._graph.replay()
        self.optimizer.step()

    def advance(self, look: bool) -> None:
        """Train for one epoch, and look at the whole data if asked: a row as :func:`train` returns them."""
        began = time.perf_counter()
        (row,) = self.epoch([self.settings.steps], None if look else 0)
        del row["step"]
        self.made += 1
        self.rows.append(row | {"seconds": time.perf_counter() - began})

    def epoch(self, looks: Sequence[int], glance: int | None = None) -> Iterator[dict[str, float]]:
        """Train for the next epoch as far as the last of ``looks``, in steps: a row at each, of the epoch so far.

        Losses and accuracy are looked at on the first ``glance`` images of either kind: on all if not given, on none
        with 0.
        """
        s, epoch, unseen = self.settings, self.made, (math.nan, math.nan)
        self.begin(epoch)
        thermometers = Thermometer(self.network), Thermometer(self.network, statistics=True)
        heat, extra, read = [0.0, 0.0], 0.0, 0
        for step in range(1, max(looks) + 1):
            before = self._numbers() if epoch == 0 and step == 1 else None
            self.step()
            for thermometer in thermometers:
                thermometer.step()
            if before is not None:  # the authors' program takes this one from zero, not from where it began
                now = self._numbers()
                extra = float(now.square().sum() - (now - before).square().sum())
            if step not in looks:
                continue
            heat = [(was * read + t.read() * (step - read)) / step for was, t in zip(heat, thermometers, strict=True)]
            read = step
            test = unseen if glance == 0 else self.look(self.test, glance)
            yield {
                "epoch": epoch,
                "step": step,
                "lr": s.rate(epoch),
                "rho": self._momentum(),
                "running loss": float(self._running) / step,
                "clean loss": (unseen if glance == 0 else self.look(self.images, glance))[0],
                "test loss": test[0],
                "test accuracy": test[1],
                "temperature": heat[0],
                "temperature with statistics": heat[1],
                "temperature as coded": heat[1] + extra / (thermometers[1].size * step),
            }

    def _penalty(self) -> Tensor:
        """What the kernels add to the loss."""
        return PENALTY * self.network.squares()

    def _numbers(self) -> Tensor:
        """All numbers that the network stores."""
        return torch.cat([self.network.vector.detach(), self.network.get_buffer("statistics")])

    def _momentum(self) -> float:
        if isinstance(self.optimizer, optim.CoolMomentum):
            return self.optimizer.momentum(self.optimizer.param_groups[0])
        return float(self.settings.rho0 or 0.0)

    @torch.no_grad()
    def look(self, images: Images, glance: int | None = None, *, own: bool = False) -> tuple[float, float]:
        """Loss, penalty included, and accuracy on images as they are, or on the first ``glance`` of them.

        They are normalised by the moving statistics, or by the ``own`` of each thousand of them.
        """
        kept = self.network.get_buffer("statistics").clone()
        count = len(images.x) if glance is None else min(glance, len(images.x))
        self.network.train(own)
        total, right = torch.zeros((), device=self.device, dtype=torch.float64), 0
        for part in range(0, count, 1000):
            rows = slice(part, min(part + 1000, count))
            loss, logits = self._loss(images.x[rows], images.y[rows], "sum")
            total += loss
            right += int((logits.argmax(1) == images.y[rows]).sum())
        self.network.train()
        self.network.get_buffer("statistics").copy_(kept)
        return float(total / count + self._penalty()), right / count


def train(
    settings: Settings,
    data: Data | None = None,
    out: Path | str | None = None,
    *,
    start: Path | None = None,
    until: int | None = None,
    look_every: int = 1,
    device: torch.device | str | None = None,
    progress: bool = False,
) -> pd.DataFrame:
    """Train, and return one row for each epoch.

    Parameters
    ----------
    settings : of the run.
    data : :func:`thermolib.datasets.cifar10` if not given.
    out : a folder for the history and the checkpoint, from which the same call goes on.
    start : a checkpoint of another training to go on from, with these settings: of other code, or another precision.
    until : stop after so many epochs; a later call goes on.
    look_every : epochs between looks at all images; there is one after the last epoch too.
    device : the GPU where there is one, if not given.
    progress : show a bar.

    Returns
    -------
    DataFrame : ``epoch`` from 0; ``lr``; ``rho`` of the next step; ``running loss``, the mean over the epoch's altered
        minibatches as Keras reports it, and ``clean loss``, of all images to train on after the epoch, both with the
        penalty; ``test loss``, ``test accuracy``; the rescaled temperature of Eq. (22), averaged over the epoch, of the
        parameters, with the moving statistics of normalisation, and as the authors' program has it, in which the very
        first displacement counts from zero; ``seconds``. A run that diverged ends with a row of which the running loss
        is not finite.

    Raises
    ------
    ValueError : settings that cannot be; a checkpoint of other settings or other code.
    """
    run = Run(settings, datasets.cifar10() if data is None else data, device)
    if out is not None:
        what = asdict(settings) | ({} if start is None else {"start": str(start)})
        run.keep(out, settings.optimizer, what, [cifar10, train], "numpy", "pandas")
    if start is not None and not run.made:
        run.begin_from(start)
    return run.drive(settings.epochs, "epochs", until, look_every, progress=progress)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    harness.command(Settings, train, arguments)


if __name__ == "__main__":
    main()
