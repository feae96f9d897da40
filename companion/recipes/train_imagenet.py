r"""EfficientNet-B0 on ImageNet as the authors of CoolMomentum trained it, on one device or many.

::

    python -m companion.recipes.train_imagenet --data FOLDER --preset coolmomentum --out RUN
    torchrun --nproc-per-node 8 -m companion.recipes.train_imagenet --data FOLDER --preset coolmomentum --out RUN

``FOLDER`` holds ``train`` and ``val``, each with a folder of images for every class. Network, images and RMSprop are
timm's; the extra ``imagenet`` brings it. Minibatches of 2048 images, over all processes, for 218,948 steps; crops of 8
to 100 % of an image's area, mirrored at random; smoothed labels, dropout, stochastic depth; a decay of all weights but
those of normalisation, as a part of the loss. What is evaluated is the moving average of the weights.

Which images a step has, and what is done to them, is a function of (seed, step); so is dropout, of (seed, step,
process). A run that was killed goes on from its last checkpoint as if it had not been, to the bit on one process or
two; with more, a sum over processes may be rounded in another order.

Source: Borysenko and Byshkin (2021), section 5; Tan and Le (2019).
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader

from companion.recipes import harness, imagenet
from companion.recipes.imagenet import IMAGES, PRESETS, Settings, applied, cooling, loaders, rate, seed_of, warm
from thermolib.ground import checks

__all__ = ["IMAGES", "PRESETS", "Run", "Settings", "applied", "rate", "train", "warm"]

SMOOTHING, DECAY, DROPOUT, DEPTH, AVERAGE = 0.1, 1e-5, 0.2, 0.2, 0.9999


@contextlib.contextmanager
def _group(device: torch.device, processes: int) -> Iterator[None]:
    """The processes that torchrun started, as a group."""
    if processes == 1:
        yield
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield
    finally:
        dist.destroy_process_group()


class Run(harness.Run):
    """Network, moving average, optimizer, and how far they are."""

    def __init__(
        self, settings: Settings, images: int, classes: int, device: torch.device, process: int = 0, processes: int = 1
    ) -> None:
        from timm import create_model
        from timm.optim import RMSpropTF
        from timm.utils import ModelEmaV3

        self.settings, self.images, self.device = settings, images, device
        self.process, self.share = process, settings.batch // processes
        self.seen = 0  # steps since the last row
        self.sum = torch.zeros((), device=device)  # of the losses since the last row
        torch.manual_seed(seed_of(settings.seed, "parameters"))
        regular: dict[str, Any] = {"drop_rate": DROPOUT, "drop_path_rate": DEPTH, "bn_momentum": 0.01}
        network = create_model(settings.model, num_classes=classes, **regular)
        self.network = network.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = ModelEmaV3(self.network, decay=AVERAGE)
        parameters = list(self.network.parameters())
        self.optimizer: torch.optim.Optimizer
        if settings.preset == "rmsprop":
            self.optimizer = RMSpropTF(parameters, lr=rate(settings, 0, images), alpha=0.9, eps=1e-3, momentum=0.9)
        else:
            self.optimizer = cooling(parameters, settings, images)
        super().__init__("loss", network=self.network, average=self.average.module, optimizer=self.optimizer)
        normal = {id(p) for m in self.network.modules() if isinstance(m, nn.BatchNorm2d) for p in m.parameters()}
        self.decayed = [p for p in parameters if id(p) not in normal]
        self.parallel: nn.Module = self.network
        if processes > 1:
            ids = [device] if device.type == "cuda" else None
            self.parallel = nn.parallel.DistributedDataParallel(self.network, device_ids=ids)

    def _logits(self, model: nn.Module, x: Tensor) -> Tensor:
        x = x.to(self.device, memory_format=torch.channels_last, non_blocking=True)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.settings.precision == "bfloat16"):
            return model(x).float()

    def feed(self, training: DataLoader, test: DataLoader) -> None:
        """Give it the images from the step on that it is at, and those that it is tested by."""
        self._batches, self._test = iter(training), test
        self._first, self._began = self.made, time.perf_counter()

    def advance(self, look: bool) -> None:
        """One step, and a row if asked."""
        self.step(self._batches)
        self.made += 1
        if look:
            seconds = time.perf_counter() - self._began
            self._look((self.made - self._first) * self.settings.batch / seconds)
            self._first, self._began = self.made, time.perf_counter()

    def step(self, batches: Iterator) -> None:
        """One minibatch of all processes, one step of the optimizer."""
        s, share = self.settings, self.share
        self.parallel.train()
        self.optimizer.zero_grad(set_to_none=False)
        done = 0
        while done < share:
            x, y = next(batches)
            torch.manual_seed(seed_of(s.seed, "dropout", self.made, self.process, done))
            done += len(x)
            waits = done < share < s.batch  # only the last micro-batch sums over processes
            with self.parallel.no_sync() if waits else contextlib.nullcontext():  # type: ignore[operator]
                logits = self._logits(self.parallel, x)
                loss = F.cross_entropy(logits, y.to(self.device), label_smoothing=SMOOTHING) * (len(x) / share)
                loss.backward()
            self.sum += loss.detach()
        torch._foreach_add_([p.grad for p in self.decayed], [p.detach() for p in self.decayed], alpha=DECAY)
        for group in self.optimizer.param_groups:
            group["lr"] = rate(s, self.made, self.images)
        self.optimizer.step()
        self.average.decay = min(AVERAGE, (1 + self.made) / (10 + self.made))
        self.average.update(self.network)
        self.seen += 1

    def _agree(self) -> None:
        """Give every process the mean of what all have summed, so that one of them can save it for all."""
        if dist.is_initialized():
            dist.all_reduce(self.sum)
            self.sum /= dist.get_world_size()

    @torch.no_grad()
    def _look(self, speed: float) -> None:
        """Evaluate the moving average, and add a row."""
        counts = torch.zeros(3, dtype=torch.float64, device=self.device)
        self.average.module.eval()
        for x, y in self._test:
            order = self._logits(self.average.module, x).argsort(1, descending=True)
            hits = order[:, :5] == y.to(self.device)[:, None]
            counts += torch.stack([hits[:, 0].sum(), hits.any(1).sum(), torch.tensor(len(y), device=self.device)])
        if dist.is_initialized():
            dist.all_reduce(counts)
        self._agree()
        top1, top5 = (counts[:2] / counts[2]).tolist()
        now = applied(self.settings, [self.made - 1], self.images).iloc[0]
        row = {"step": self.made, "epoch": self.made * self.settings.batch / self.images}
        row |= {
            "lr": float(now["rate"]),
            "rho": float(now["momentum"]),
            "loss": float(self.sum / self.seen),
            "top-1": top1,
            "top-5": top5,
        }
        self.rows.append(row | {"images per second": speed})
        self.sum.zero_()
        self.seen = 0

    def state_dict(self) -> dict[str, Any]:
        """What the next step needs; under ``torchrun``, every process calls it."""
        self._agree()
        return super().state_dict() | {"seen": self.seen, "sum": self.sum}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        super().load_state_dict(state)
        self.seen = state["seen"]
        self.sum.copy_(state["sum"])


def train(
    settings: Settings,
    data: Path | str,
    out: Path | str,
    *,
    until: int | None = None,
    look_every: int = 6255,
    save_every: int = 1000,
    workers: int = 0,
    device: torch.device | str | None = None,
    progress: bool = False,
) -> pd.DataFrame:
    """Train, and return one row for each look at the test images. Under ``torchrun``, every process calls it.

    Parameters
    ----------
    settings : of the run.
    data : the folder with ``train`` and ``val``.
    out : a folder for the history and the checkpoint, from which the same call goes on.
    until : stop after so many steps; a later call goes on.
    look_every : steps between looks; there is one after the last step too.
    save_every : steps between checkpoints; there is one after the last step too.
    workers : processes that read images, for each process that trains.
    device : its GPU where there is one, if not given.
    progress : show a bar.

    Returns
    -------
    DataFrame : ``step``; ``epoch``; ``lr`` and ``rho`` of that step; ``loss``, the mean over the minibatches since the
        row before; ``top-1`` and ``top-5``, the share of test images of which the class is the first, or among the
        first five, by the moving average of the weights; ``images per second`` of the training. A run that diverged
        ends with a row of which the loss is not finite.

    Raises
    ------
    ValueError : settings or data that cannot be; a checkpoint of other settings or other code.
    ModuleNotFoundError : timm is missing; the extra ``imagenet`` brings it.
    """
    process, processes = (int(os.environ.get(name, default)) for name, default in (("RANK", 0), ("WORLD_SIZE", 1)))
    if settings.batch % processes:
        raise ValueError(f"batch={settings.batch} is not allowed: it must be a multiple of the {processes} processes")
    if device is None and torch.cuda.is_available():
        device = f"cuda:{os.environ.get('LOCAL_RANK', 0)}"
    place = checks.device(device)
    _, _, count, classes = loaders(settings, Path(data), 0, 0, process, processes)
    what = asdict(settings) | {"images": count, "classes": classes, "processes": processes}
    with _group(place, processes):
        run = Run(settings, count, classes, place, process, processes)
        run.keep(out, settings.preset, what, [imagenet, train], "timm", "torchvision", process=process)
        run.feed(*loaders(settings, Path(data), run.made, workers, process, processes)[:2])
        history = run.drive(settings.steps, "steps", until, look_every, save_every, progress=progress)
        # DistributedDataParallel must not be the last to let go of the group: it would end gloo's threads while it
        # holds the interpreter's lock, and a thread that still waits for the lock to free a tensor would never end.
        del run
        return history


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    precision = "bfloat16" if torch.cuda.is_available() else "float32"
    try:
        harness.command(Settings, train, arguments, precision=precision, workers=8)
    except ModuleNotFoundError as error:
        sys.exit(f"{error.name} is missing: the extra `imagenet` brings it, pip install -e '.[imagenet]'")


if __name__ == "__main__":
    main()
