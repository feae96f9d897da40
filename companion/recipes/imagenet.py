"""ImageNet as a run sees it: the settings with their schedule, and which images each step of each process has."""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, Subset

from thermolib import optim
from thermolib.ground import checks, noise

__all__ = ["IMAGES", "PRESETS", "Order", "Settings", "applied", "cooling", "loaders", "rate", "seed_of", "warm"]

#: Each preset with the paper's learning rate: for CoolMomentum the base rate, for RMSprop that of 256 images.
PRESETS = {"rmsprop": 0.016, "coolmomentum": 0.6}
#: Images of ImageNet to train on.
IMAGES = 1_281_167
WARM_EPOCHS, DECAY_EPOCHS, DECAY_FACTOR = 5, 2.4, 0.97


@dataclass(frozen=True)
class Settings:
    """What a run is; as it stands, the paper's.

    Parameters
    ----------
    preset : "rmsprop" or "coolmomentum".
    lr : RMSprop's for 256 images, CoolMomentum's base rate; the paper's for the preset if not given.
    rho0 : CoolMomentum's momentum coefficient at first; RMSprop has 0.9.
    steps : of the whole run; CoolMomentum cools until then.
    batch : images a step, over all processes.
    micro : images at once in one process, over which normalisation averages; the gradients of several add up.
    model : a name that timm knows.
    pixels : of the sides of what the network sees.
    seed : of everything that is random.
    precision : "float32" or "bfloat16", of the network.

    Raises
    ------
    ValueError : what cannot be.
    """

    preset: str = "coolmomentum"
    lr: float | None = None
    rho0: float = 0.99
    steps: int = 218_948
    batch: int = 2048
    micro: int = 256
    model: str = "tf_efficientnet_b0"
    pixels: int = 224
    seed: int = 0
    precision: str = "float32"

    def __post_init__(self) -> None:
        checks.one_of("preset", self.preset, tuple(PRESETS))
        checks.one_of("precision", self.precision, ("float32", "bfloat16"))
        for name in ("steps", "batch", "micro", "pixels"):
            checks.integer(name, getattr(self, name), 1)
        if self.lr is None:
            object.__setattr__(self, "lr", PRESETS[self.preset])
        checks.above("lr", self.lr)
        checks.at_least("rho0", self.rho0, below=1.0)


def warm(settings: Settings, images: int = IMAGES) -> int:
    """Steps of the warm-up."""
    return int(WARM_EPOCHS * images / settings.batch)


def rate(settings: Settings, step: int, images: int = IMAGES) -> float:
    r"""What RMSprop's learning rate, or CoolMomentum's base rate, is at a step.

    RMSprop: :math:`0.016\,B/256`, rising linearly over the first 5 epochs, times 0.97 for each 2.4 epochs that are
    over. CoolMomentum: constant.
    """
    assert settings.lr is not None
    if settings.preset == "coolmomentum":
        return settings.lr
    base, epoch = settings.lr * settings.batch / 256, images / settings.batch
    if step < warm(settings, images):
        return base * step / warm(settings, images)
    return base * DECAY_FACTOR ** int(step / (DECAY_EPOCHS * epoch))


def applied(settings: Settings, steps: Sequence[int], images: int = IMAGES) -> pd.DataFrame:
    r"""The schedule at some steps: ``momentum`` :math:`\rho`, ``rate`` of the force in the displacement, and
    ``step size``, :math:`\text{rate}/(1-\rho)`, which is what a constant force moves a weight by in one step at last.

    RMSprop divides its force by the root of a mean square, so its rates and CoolMomentum's are in different units.
    """
    rows = []
    cool = cooling([nn.Parameter(torch.zeros(1))], settings, images) if settings.preset == "coolmomentum" else None
    for step in steps:
        if cool is None:
            rho, of_force = 0.9, rate(settings, step, images)
        else:
            cool.param_groups[0]["made"] = step
            rho = cool.momentum(cool.param_groups[0])
            of_force = rate(settings, step, images) * (1 + rho) / 2
        rows.append({"step": step, "momentum": rho, "rate": of_force, "step size": of_force / (1 - rho)})
    return pd.DataFrame(rows)


def cooling(parameters: list[nn.Parameter], settings: Settings, images: int) -> optim.CoolMomentum:
    assert settings.lr is not None
    return optim.CoolMomentum(
        parameters, settings.lr, settings.rho0, steps=settings.steps, warmup=warm(settings, images)
    )


class _Altered(Dataset):
    """Images of timm, asked for by (where in the run, which image), so that what is done to each is always the same."""

    def __init__(self, images: Any, seed: int) -> None:
        self.images, self.seed = images, seed

    def __getitem__(self, place: tuple[int, int]) -> Any:
        seed = seed_of(self.seed, "image", place[0])
        random.seed(seed)
        torch.manual_seed(seed)
        return self.images[place[1]]


def seed_of(*what: object) -> int:
    """A seed that is a function of what it is for."""
    return int.from_bytes(hashlib.sha256(repr(what).encode()).digest()[:7], "big")


class Order:
    """For each step from ``start`` on, and each of its micro-batches, the images of this process.

    The run reads one permutation of the images after the other, across the ends of epochs.
    """

    def __init__(self, settings: Settings, images: int, start: int, process: int, processes: int) -> None:
        self.settings, self.images, self.start = settings, images, start
        self.process, self.processes = process, processes

    def __len__(self) -> int:
        share = self.settings.batch // self.processes
        return (self.settings.steps - self.start) * math.ceil(share / self.settings.micro)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        s, share = self.settings, self.settings.batch // self.processes
        known: dict[int, np.ndarray] = {}
        for step in range(self.start, s.steps):
            first = step * s.batch + self.process * share
            for begin in range(first, first + share, s.micro):
                places = range(begin, min(begin + s.micro, first + share))
                for epoch in {place // self.images for place in places} - known.keys():
                    known = {e: order for e, order in known.items() if e >= epoch - 1}
                    known[epoch] = noise.permutation(noise.key(s.seed, 1, epoch), self.images)[0].numpy()
                yield [(place, int(known[place // self.images][place % self.images])) for place in places]


def loaders(
    settings: Settings, data: Path, start: int, workers: int, process: int, processes: int
) -> tuple[DataLoader, DataLoader, int, int]:
    """Images to train on from a step on, images to test on, how many there are, and of how many classes."""
    from timm.data import create_dataset, create_transform

    for part in ("train", "val"):
        if not (data / part).is_dir():
            raise ValueError(
                f"data={data} is not allowed: it must hold the folders train and val, and {part} is missing"
            )
    sets = [create_dataset("", str(data), split=part, is_training=part == "train") for part in ("train", "val")]
    classes = sets[0].reader.class_to_idx
    if sets[1].reader.class_to_idx != classes:
        raise ValueError(f"data={data} is not allowed: train and val hold different classes")
    look: dict[str, Any] = {"input_size": settings.pixels, "interpolation": "bicubic"}
    crop: dict[str, Any] = {"scale": (0.08, 1.0), "ratio": (3 / 4, 4 / 3), "hflip": 0.5, "color_jitter": None}
    sets[0].transform = create_transform(is_training=True, **crop, **look)
    sets[1].transform = create_transform(is_training=False, crop_pct=0.875, **look)
    how: dict[str, Any] = {"num_workers": workers, "pin_memory": torch.cuda.is_available()}
    order = Order(settings, len(sets[0]), start, process, processes)
    training = DataLoader(_Altered(sets[0], settings.seed), batch_sampler=order, **how)
    mine = Subset(sets[1], range(process, len(sets[1]), processes))
    return training, DataLoader(mine, settings.micro, **how), len(sets[0]), len(classes)
