r"""ResNet-20 on CIFAR-10 as the authors of CoolMomentum trained it.

``python -m companion.recipes.train_cifar10 --help`` lists its options.

Minibatches of 32 for 200 epochs; images minus their mean, pixel by pixel; shifted by up to a tenth of their width in
either direction, between the pixels too, and mirrored at random; the loss is the cross entropy plus
:math:`10^{-4}\,|w|^2` of the kernels. Adam and momentum lower their rate by 10 after epochs 80, 120 and 160, and by 2
after 180, of 200; CoolMomentum cools over the whole run.

The data lie on the device and are shifted and mirrored there, a minibatch at a time. All parameters are one vector, so
that an optimizer is a few operations, and on a GPU everything up to the gradient is one CUDA graph. Order, shifts and
mirror images are functions of (seed, epoch): a run that was stopped goes on as if it had not been.

Source: Borysenko and Byshkin (2021), section 5; He, Zhang, Ren, Sun (2016), section 4.2; the example of Keras.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm.auto import tqdm

from companion.evidence.provenance import provenance, write_record
from thermolib import datasets, optim
from thermolib.data import Data, Split
from thermolib.engine.checkpoint import Checkpoint
from thermolib.ground import checks, noise
from thermolib.nets.models import resnet20
from thermolib.observe import Thermometer

__all__ = ["RATES", "Images", "Network", "Run", "Settings", "train"]

#: Each optimizer with the paper's learning rate.
RATES = {"adam": 1e-3, "momentum": 1e-2, "coolmomentum": 1e-2}
#: After these epochs of 200 the rate of Adam and momentum is this share of what it was at first.
DROPS = {80: 0.1, 120: 0.01, 160: 0.001, 180: 0.0005}
PENALTY = 1e-4
SHIFT = 0.1


@dataclass(frozen=True)
class Settings:
    """What a run is; as it stands, the paper's.

    Parameters
    ----------
    optimizer : "adam", "momentum" or "coolmomentum".
    lr : the learning rate, at first; the paper's for the optimizer if not given.
    rho0 : the momentum coefficient, CoolMomentum's at first.
    epochs, batch : as many minibatches an epoch as are full.
    seed : of the initial parameters, the order of the images, and what is done to them.
    width : channels of the first stage.
    images, tests : the first so many of the data.
    pixels : of the images' sides; below 32, means over squares of pixels.
    precision : "float32" or "bfloat16", of the convolutions.

    Raises
    ------
    ValueError : what cannot be.
    """

    optimizer: str = "coolmomentum"
    lr: float | None = None
    rho0: float | None = None
    epochs: int = 200
    seed: int = 1
    batch: int = 32
    width: int = 16
    images: int = 50_000
    tests: int = 10_000
    pixels: int = 32
    precision: str = "float32"

    def __post_init__(self) -> None:
        checks.one_of("optimizer", self.optimizer, tuple(RATES))
        checks.one_of("precision", self.precision, ("float32", "bfloat16"))
        for name in ("epochs", "batch", "width", "images", "tests"):
            checks.integer(name, getattr(self, name), 1)
        if self.images < self.batch:
            raise ValueError(f"images={self.images} is not allowed: it must be at least batch={self.batch}")
        if self.pixels not in (8, 16, 32):
            raise ValueError(f"pixels={self.pixels} is not allowed: it must be 8, 16 or 32")
        if self.lr is None:
            object.__setattr__(self, "lr", RATES[self.optimizer])
        if self.rho0 is None:
            object.__setattr__(self, "rho0", {"adam": 0.0, "momentum": 0.9, "coolmomentum": 0.99}[self.optimizer])
        checks.above("lr", self.lr)
        checks.at_least("rho0", self.rho0, below=1.0)

    @property
    def steps(self) -> int:
        """Minibatches an epoch."""
        return self.images // self.batch

    def rate(self, epoch: int) -> float:
        """The learning rate of an epoch, counted from 0; for CoolMomentum its base rate."""
        assert self.lr is not None
        if self.optimizer == "coolmomentum":
            return self.lr
        past = [share for after, share in DROPS.items() if epoch * 200 > after * self.epochs]
        return self.lr * min(past, default=1.0)


class Images:
    """Images on the device, minus the mean of those to train on, and what training does to them."""

    def __init__(self, split: Split, mean: Tensor | None = None, *, pixels: int = 32, device: torch.device) -> None:
        x = split.x.to(device, torch.float32) / 255
        if pixels < x.shape[-1]:
            x = F.avg_pool2d(x, x.shape[-1] // pixels)
        self.mean = x.mean(0) if mean is None else mean
        self.x = x.sub_(self.mean)
        self.y = split.y.to(device)
        identity = torch.eye(2, 3, device=device)[None]
        self._grid = F.affine_grid(identity, [1, 3, pixels, pixels], align_corners=False)

    def altered(self, rows: Tensor, shift: Tensor, mirrored: Tensor) -> Tensor:
        """Images ``[B]``, each moved by a share of its sides ``[B, 2]`` and, where so ordered ``[B]``, mirrored.

        Between pixels the interpolation is bilinear; what comes in from outside repeats the edge.
        """
        sides = torch.stack([1 - 2 * mirrored.to(shift.dtype), torch.ones_like(shift[:, 0])], 1)
        grid = self._grid * sides[:, None, None, :] + 2 * shift[:, None, None, :]
        return F.grid_sample(self.x[rows], grid, padding_mode="border", align_corners=False)


class Network(nn.Module):
    """A network whose parameters are one vector, kernels first, with one vector of gradients; and so its statistics.

    An optimizer of ``parameters()`` sees one tensor. What computes is still the module given.
    """

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        kernels = [layer.weight for layer in body.modules() if isinstance(layer, nn.Conv2d)]
        known = {id(p) for p in kernels}
        parameters = kernels + [p for p in body.parameters() if id(p) not in known]
        self.kernels = sum(p.numel() for p in kernels)
        flat = [(p.movedim(1, -1) if p.ndim == 4 else p).detach().flatten() for p in parameters]
        self.vector = nn.Parameter(torch.cat(flat))
        self.vector.grad = torch.zeros_like(self.vector)
        values, slopes = (_parts(t, parameters) for t in (self.vector.data, self.vector.grad))
        for p, value, slope in zip(parameters, values, slopes, strict=True):
            p.data, p.grad = value, slope
        normalisations = [layer for layer in body.modules() if isinstance(layer, nn.BatchNorm2d)]
        means, variances = ([getattr(n, f"running_{which}") for n in normalisations] for which in ("mean", "var"))
        self.register_buffer("statistics", torch.cat([*means, *variances]))
        first, second = self.get_buffer("statistics").chunk(2)
        sizes = [len(t) for t in means]
        for layer, mean, variance in zip(normalisations, first.split(sizes), second.split(sizes), strict=True):
            layer.running_mean, layer.running_var = mean, variance
        self._body = (body,)  # in a tuple it is no submodule: its parameters are this module's one vector

    def train(self, mode: bool = True) -> Network:
        """Normalise by the statistics of each minibatch, or not."""
        super().train(mode)
        self._body[0].train(mode)
        return self

    def forward(self, x: Tensor) -> Tensor:
        """The logits of images ``[B, 3, H, W]``."""
        return self._body[0](x)

    def penalty(self) -> Tensor:
        """What the kernels add to the loss."""
        return PENALTY * self.vector.detach()[: self.kernels].square().sum()


def _parts(vector: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
    """The vector in the shapes of the given tensors; kernels with their channels last, as convolutions like them."""
    parts = vector.split([t.numel() for t in like])
    return [
        part.view(t.shape[0], *t.shape[2:], t.shape[1]).movedim(-1, 1) if t.ndim == 4 else part.view(t.shape)
        for part, t in zip(parts, like, strict=True)
    ]


class Run:
    """A network, its data and its optimizer; :meth:`epoch` makes one pass and returns what was seen.

    :func:`train` is this in a loop, with a record and checkpoints.

    Parameters
    ----------
    settings : of the run.
    data : images ``[N, 3, 32, 32]`` in bytes, and classes ``[N]``, as :func:`thermolib.datasets.cifar10` returns them;
        the first ``settings.images`` and ``settings.tests`` of them are used, the latter minus the mean of the former.
    device : the GPU where there is one, if not given.

    Attributes: ``settings``, ``device``, ``network`` (a :class:`Network`), ``optimizer``, and ``images`` and ``test``
    (:class:`Images`). The initial parameters are drawn from ``settings.seed``, and PyTorch's own generator on the CPU
    is left as it was.

    Raises
    ------
    ValueError : fewer images than the settings ask for, a device that is not there.

    Source: Borysenko and Byshkin (2021), section 5; He, Zhang, Ren, Sun (2016), section 4.2.
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
        used = s.steps * s.batch
        self._order = torch.zeros(used, dtype=torch.int64, device=self.device)
        self._shift = torch.zeros(used, 2, device=self.device)
        self._mirrored = torch.zeros(used, dtype=torch.bool, device=self.device)
        self._step = torch.zeros(1, dtype=torch.int64, device=self.device)
        self._running = torch.zeros((), dtype=torch.float64, device=self.device)
        self._graph: torch.cuda.CUDAGraph | None = None

    def _plan(self, epoch: int) -> None:
        """The order of the images and what happens to each, drawn for a whole epoch."""
        s, used = self.settings, len(self._order)
        key = noise.key(s.seed, 1, epoch, self.device)
        self._order.copy_(noise.permutation(key, s.images)[0, :used])
        self._shift.copy_(SHIFT * (2 * key.uniform(noise.ORDER + 1, 2 * used) - 1).reshape(used, 2))
        self._mirrored.copy_(key.uniform(noise.ORDER + 2, used)[0] < 0.5)
        self._step.zero_()
        self._running.zero_()

    def _loss(self, x: Tensor, y: Tensor, reduction: str = "mean") -> tuple[Tensor, Tensor]:
        """Cross entropy and logits."""
        low = self.settings.precision == "bfloat16"
        x = x.contiguous(memory_format=torch.channels_last)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=low, cache_enabled=False):
            logits = self.network(x)
        return F.cross_entropy(logits.float(), y, reduction=reduction), logits

    def _gradient(self) -> None:
        """The gradient of the next minibatch; nothing in here asks the device for a number."""
        s, vector = self.settings, self.network.vector
        assert vector.grad is not None
        place = (self._step * s.batch + torch.arange(s.batch, device=self.device),)
        rows = self._order[place]
        x = self.images.altered(rows, self._shift[place], self._mirrored[place])
        vector.grad.zero_()
        loss, _ = self._loss(x, self.images.y[rows])
        loss.backward()
        kernels = slice(self.network.kernels)
        vector.grad[kernels].add_(vector.detach()[kernels], alpha=2 * PENALTY)
        self._running += loss.detach() + self.network.penalty()
        self._step += 1

    def _capture(self) -> None:
        """Make a CUDA graph of the gradient; the trial steps that this takes are undone."""
        kept = {name: value.clone() for name, value in self.network.state_dict().items()}
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(3):
                self._gradient()
        torch.cuda.current_stream().wait_stream(aside)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._gradient()
        self.network.load_state_dict(kept)

    def begin(self, epoch: int) -> None:
        """Get ready for the steps of an epoch, counted from 0."""
        self.network.train()
        self._plan(epoch)
        if self.device.type == "cuda" and self._graph is None:
            self._capture()
            self._plan(epoch)
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.rate(epoch)

    def step(self) -> None:
        """One step; nothing in here waits for the device."""
        if self._graph is None:
            self._gradient()
        else:
            self._graph.replay()
        self.optimizer.step()

    def epoch(self, epoch: int) -> dict[str, float]:
        """Train for one epoch, counted from 0, and look at the whole data: a row as :func:`train` returns them."""
        s, began = self.settings, time.perf_counter()
        self.begin(epoch)
        thermometer, with_statistics = Thermometer(self.network), Thermometer(self.network, statistics=True)
        extra = 0.0
        for step in range(s.steps):
            before = self._numbers() if epoch == step == 0 else None
            self.step()
            thermometer.step()
            with_statistics.step()
            if before is not None:  # the authors' program takes this one from zero, not from where it began
                now = self._numbers()
                extra = float(now.square().sum() - (now - before).square().sum())
        running = float(self._running) / s.steps
        warm = with_statistics.read()
        row = {
            "epoch": epoch,
            "lr": s.rate(epoch),
            "rho": self._momentum(),
            "running loss": running,
            "clean loss": self._look(self.images)[0],
            "test loss": (test := self._look(self.test))[0],
            "test accuracy": test[1],
            "temperature": thermometer.read(),
            "temperature with statistics": warm,
            "temperature as coded": warm + extra / (with_statistics.size * s.steps),
        }
        return row | {"seconds": time.perf_counter() - began}

    def _numbers(self) -> Tensor:
        """All numbers that the network stores."""
        return torch.cat([self.network.vector.detach(), self.network.get_buffer("statistics")])

    def _momentum(self) -> float:
        if isinstance(self.optimizer, optim.CoolMomentum):
            return self.optimizer.momentum(self.optimizer.param_groups[0])
        return float(self.settings.rho0 or 0.0)

    @torch.no_grad()
    def _look(self, images: Images) -> tuple[float, float]:
        """Loss, penalty included, and accuracy on images as they are, with the moving statistics."""
        self.network.eval()
        total, right = torch.zeros((), device=self.device, dtype=torch.float64), 0
        for part in range(0, len(images.x), 1000):
            rows = slice(part, part + 1000)
            loss, logits = self._loss(images.x[rows], images.y[rows], "sum")
            total += loss
            right += int((logits.argmax(1) == images.y[rows]).sum())
        self.network.train()
        return float(total / len(images.x) + self.network.penalty()), right / len(images.x)

    def state_dict(self) -> dict[str, Any]:
        """What the next epoch needs."""
        return {"network": self.network.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])


def train(
    settings: Settings,
    data: Data | None = None,
    out: Path | str | None = None,
    *,
    until: int | None = None,
    device: torch.device | str | None = None,
    progress: bool = False,
) -> pd.DataFrame:
    """Train, and return one row for each epoch.

    Parameters
    ----------
    settings : of the run.
    data : :func:`thermolib.datasets.cifar10` if not given.
    out : a folder for ``history.csv``, ``provenance.json`` and ``checkpoint.pt``, from which the same call goes on.
    until : stop after so many epochs of ``settings.epochs``; a later call goes on.
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
    ValueError : settings that cannot be; a checkpoint of another run.
    """
    last = settings.epochs if until is None else min(checks.integer("until", until, 1), settings.epochs)
    run = Run(settings, datasets.cifar10() if data is None else data, device)
    rows: list[dict[str, float]] = []
    checkpoint = None
    if out is not None:
        Path(out).mkdir(parents=True, exist_ok=True)
        checkpoint = Checkpoint(Path(out) / "checkpoint.pt", {"integrator": settings.optimizer} | asdict(settings))
        if saved := checkpoint.load().get(0):
            rows = saved["rows"]
            run.load_state_dict(saved["run"])
    bar = tqdm(total=last, initial=len(rows), unit=" epochs", disable=not progress, leave=False)
    while len(rows) < last and all(math.isfinite(row["running loss"]) for row in rows[-1:]):
        rows.append(run.epoch(len(rows)))
        bar.update()
        if checkpoint is not None:
            checkpoint.save({0: {"rows": rows, "run": run.state_dict()}})
            record = asdict(settings) | provenance("numpy", "pandas")
            record |= {"device": run.device.type, "epochs made": len(rows)}
            record["wall time in seconds"] = round(sum(row["seconds"] for row in rows))
            write_record(Path(out or "."), pd.DataFrame(rows), record)
    bar.close()
    return pd.DataFrame(rows).astype({"epoch": int})


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    given = Settings()
    parser = argparse.ArgumentParser(
        prog="python -m companion.recipes.train_cifar10", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--optimizer", default=given.optimizer, help=" or ".join(RATES))
    parser.add_argument("--lr", type=float, help="the learning rate at first (default: the paper's)")
    parser.add_argument("--rho0", type=float, help="the momentum coefficient at first (default: the paper's)")
    for name, what in (
        ("epochs", "passes over the images"),
        ("seed", "of all that is random"),
        ("batch", "images a step"),
        ("width", "channels of the first stage"),
        ("images", "to train on"),
        ("tests", "images to test on"),
        ("pixels", "of a side: 8, 16 or 32"),
    ):
        parser.add_argument(f"--{name}", type=int, default=getattr(given, name), help=f"{what} (default: %(default)s)")
    parser.add_argument("--precision", default=given.precision, help="float32 or bfloat16 (default: %(default)s)")
    parser.add_argument(
        "--out", type=Path, required=True, help="folder for the history and the checkpoint to resume from"
    )
    parser.add_argument("--until", type=int, help="stop after so many epochs; the same command goes on")
    parser.add_argument("--device", help="default: the GPU, where there is one")
    args = vars(parser.parse_args(arguments))
    where = {name: args.pop(name) for name in ("out", "until", "device")}
    try:
        history = train(Settings(**args), progress=True, **where)
    except (ValueError, FileNotFoundError) as error:
        sys.exit(str(error))
    print(history.tail(1).to_string(index=False))


if __name__ == "__main__":
    main()
