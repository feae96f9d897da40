"""CIFAR-10 and a network as a run sees them: its settings, images on the device, parameters that are one vector."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from thermolib.data import Split
from thermolib.ground import checks, noise

__all__ = ["DROPS", "RATES", "SHIFT", "Images", "Minibatches", "Network", "Settings", "kept"]

#: Each optimizer with the paper's learning rate, and with its momentum coefficient.
RATES = {"adam": 1e-3, "momentum": 1e-2, "coolmomentum": 1e-2}
MOMENTA = {"adam": 0.0, "momentum": 0.9, "coolmomentum": 0.99}
#: After these epochs of 200 the rate of Adam and momentum is this share of what it was at first.
DROPS = {80: 0.1, 120: 0.01, 160: 0.001, 180: 0.0005}

#: Images are shifted by up to this share of their sides.
SHIFT = 0.1


@dataclass(frozen=True)
class Settings:
    """What a run is; as it stands, the paper's.

    Parameters
    ----------
    optimizer : "adam", "momentum" or "coolmomentum".
    lr : the learning rate, at first; the paper's for the optimizer if not given.
    rho0 : the momentum coefficient, CoolMomentum's at first; the paper's for the optimizer if not given.
    epochs : passes over the images, in minibatches that are full.
    seed : of the initial parameters, the order of the images, and what is done to them.
    batch : images a step.
    width : channels of the first stage.
    images, tests : to train on and to test on, the first so many of the data.
    pixels : of the images' sides, 8, 16 or 32; below 32, means over squares of pixels.
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
            object.__setattr__(self, "rho0", MOMENTA[self.optimizer])
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


def kept(folder: Path) -> tuple[Settings, pd.DataFrame, dict[str, Any]]:
    """The settings of a training that lies in a folder, finished or not, its history, and where it comes from."""
    about = json.loads((folder / "provenance.json").read_text(encoding="utf-8"))
    settings = Settings(**{field.name: about[field.name] for field in fields(Settings)})
    return settings, pd.read_csv(folder / "history.csv"), about


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


class Minibatches:
    """The minibatches of an epoch that are full, every image shifted and mirrored at random.

    Order, shifts and mirror images are functions of (seed, epoch). :meth:`next` asks the device for no number.
    """

    def __init__(self, images: Images, batch: int, seed: int) -> None:
        self.images, self.batch, self.seed = images, batch, seed
        used, device = len(images.x) // batch * batch, images.x.device
        self.order = torch.zeros(used, dtype=torch.int64, device=device)
        self.shift = torch.zeros(used, 2, device=device)
        self.mirrored = torch.zeros(used, dtype=torch.bool, device=device)
        self._step = torch.zeros(1, dtype=torch.int64, device=device)

    def plan(self, epoch: int) -> None:
        """Draw the order of the images and what happens to each, for a whole epoch."""
        used = len(self.order)
        key = noise.key(self.seed, 1, epoch, self.order.device)
        self.order.copy_(noise.permutation(key, len(self.images.x))[0, :used])
        self.shift.copy_(SHIFT * (2 * key.uniform(noise.ORDER + 1, 2 * used) - 1).reshape(used, 2))
        self.mirrored.copy_(key.uniform(noise.ORDER + 2, used)[0] < 0.5)
        self._step.zero_()

    def next(self) -> tuple[Tensor, Tensor]:
        """Images and classes of the next minibatch."""
        place = (self._step * self.batch + torch.arange(self.batch, device=self.order.device),)
        rows = self.order[place]
        x = self.images.altered(rows, self.shift[place], self.mirrored[place])
        self._step += 1
        return x, self.images.y[rows]


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

    def squares(self) -> Tensor:
        """The sum of the squares of all kernels."""
        return self.vector.detach()[: self.kernels].square().sum()

    def captured(self, gradient: Callable[[], None]) -> torch.cuda.CUDAGraph:
        """A CUDA graph of what computes the gradient; the trial steps that this takes are undone."""
        kept = {name: value.clone() for name, value in self.state_dict().items()}
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(3):
                gradient()
        torch.cuda.current_stream().wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            gradient()
        self.load_state_dict(kept)
        return graph


def _parts(vector: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
    """The vector in the shapes of the given tensors; kernels with their channels last, as convolutions like them."""
    parts = vector.split([t.numel() for t in like])
    return [
        part.view(t.shape[0], *t.shape[2:], t.shape[1]).movedim(-1, 1) if t.ndim == 4 else part.view(t.shape)
        for part, t in zip(parts, like, strict=True)
    ]
