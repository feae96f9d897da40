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

import argparse
import contextlib
import hashlib
import math
import os
import random
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from tqdm.auto import tqdm

from companion.evidence.provenance import provenance, write_record
from thermolib import optim
from thermolib.engine.checkpoint import Checkpoint
from thermolib.ground import checks, noise

__all__ = ["IMAGES", "PRESETS", "Settings", "applied", "rate", "train"]

#: Each preset with the paper's learning rate: for CoolMomentum the base rate, for RMSprop that of 256 images.
PRESETS = {"rmsprop": 0.016, "coolmomentum": 0.6}
#: Images of ImageNet to train on.
IMAGES = 1_281_167
SMOOTHING, DECAY, DROPOUT, DEPTH, AVERAGE = 0.1, 1e-5, 0.2, 0.2, 0.9999
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
    cool = _cooling([nn.Parameter(torch.zeros(1))], settings, images) if settings.preset == "coolmomentum" else None
    for step in steps:
        if cool is None:
            rho, of_force = 0.9, rate(settings, step, images)
        else:
            cool.param_groups[0]["made"] = step
            rho = cool.momentum(cool.param_groups[0])
            of_force = rate(settings, step, images) * (1 + rho) / 2
        rows.append({"step": step, "momentum": rho, "rate": of_force, "step size": of_force / (1 - rho)})
    return pd.DataFrame(rows)


def _cooling(parameters: list[nn.Parameter], settings: Settings, images: int) -> optim.CoolMomentum:
    assert settings.lr is not None
    return optim.CoolMomentum(
        parameters, settings.lr, settings.rho0, steps=settings.steps, warmup=warm(settings, images)
    )


class _Altered(Dataset):
    """Images of timm, asked for by (where in the run, which image), so that what is done to each is always the same."""

    def __init__(self, images: Any, seed: int) -> None:
        self.images, self.seed = images, seed

    def __getitem__(self, place: tuple[int, int]) -> Any:
        seed = _seed(self.seed, "image", place[0])
        random.seed(seed)
        torch.manual_seed(seed)
        return self.images[place[1]]


def _seed(*what: object) -> int:
    """A seed that is a function of what it is for."""
    return int.from_bytes(hashlib.sha256(repr(what).encode()).digest()[:7], "big")


class _Order:
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


def _loaders(
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
    order = _Order(settings, len(sets[0]), start, process, processes)
    training = DataLoader(_Altered(sets[0], settings.seed), batch_sampler=order, **how)
    mine = torch.utils.data.Subset(sets[1], range(process, len(sets[1]), processes))
    return training, DataLoader(mine, settings.micro, **how), len(sets[0]), len(classes)


def train(
    settings: Settings,
    data: Path | str,
    out: Path | str,
    *,
    until: int | None = None,
    evaluate_every: int = 6255,
    save_every: int = 1000,
    workers: int = 0,
    device: torch.device | str | None = None,
    progress: bool = False,
) -> pd.DataFrame:
    """Train, and return one row for each evaluation. Under ``torchrun``, every process calls it.

    Parameters
    ----------
    settings : of the run.
    data : the folder with ``train`` and ``val``.
    out : a folder for ``history.csv``, ``provenance.json`` and ``checkpoint.pt``, from which the same call goes on.
    until : stop after so many steps of ``settings.steps``; a later call goes on.
    evaluate_every : steps between evaluations; there is one after the last step too.
    save_every : steps between checkpoints; there is one after the last step too.
    workers : processes that read images, for each process that trains.
    device : its GPU where there is one, if not given.
    progress : show a bar.

    Returns
    -------
    DataFrame : ``step``; ``epoch``; ``lr`` and ``rho`` of that step; ``loss``, the mean over the minibatches since the
        row before; ``top-1`` and ``top-5``, the share of test images of which the class is the first, or among the
        first five, by the moving average of the weights; ``images per second`` of the training.

    Raises
    ------
    ValueError : settings or data that cannot be; a checkpoint of another run.
    ModuleNotFoundError : timm is missing; the extra ``imagenet`` brings it.
    """
    process, processes = (int(os.environ.get(name, default)) for name, default in (("RANK", 0), ("WORLD_SIZE", 1)))
    if settings.batch % processes:
        raise ValueError(f"batch={settings.batch} is not allowed: it must be a multiple of the {processes} processes")
    if device is None and torch.cuda.is_available():
        device = f"cuda:{os.environ.get('LOCAL_RANK', 0)}"
    place = checks.device(device)
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    last = settings.steps if until is None else min(checks.integer("until", until, 1), settings.steps)
    _, _, images, classes = _loaders(settings, Path(data), 0, 0, process, processes)
    what = asdict(settings) | {"images": images, "classes": classes, "processes": processes}
    checkpoint = Checkpoint(out / "checkpoint.pt", {"integrator": settings.preset} | what)
    saved = checkpoint.load().get(0)
    with _group(place, processes):
        run = _Run(settings, images, classes, place, processes)
        if saved:
            run.load_state_dict(saved)
        training, test, *_ = _loaders(settings, Path(data), run.step, workers, process, processes)
        batches = iter(training)
        quiet = not progress or process > 0
        began = time.perf_counter()
        first = run.step
        with tqdm(total=last, initial=run.step, unit=" steps", disable=quiet, leave=False) as bar:
            while run.step < last:
                run.make_step(batches, process, processes)
                bar.update()
                if run.step % evaluate_every == 0 or run.step == last:
                    speed = (run.step - first) * settings.batch / (time.perf_counter() - began)
                    run.look(test, speed)
                    began, first = time.perf_counter(), run.step
                if run.step % save_every == 0 or run.step == last:
                    run.agree()
                    if process == 0:
                        checkpoint.save({0: run.state_dict()})
                        record = what | {"device": place.type} | provenance("timm", "torchvision")
                        write_record(out, pd.DataFrame(run.rows), record)
        history = pd.DataFrame(run.rows)
        # DistributedDataParallel must not be the last to let go of the group: it would end gloo's threads while it
        # holds the interpreter's lock, and a thread that still waits for the lock to free a tensor would never end.
        del run
        return history


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


class _Run:
    """Network, moving average, optimizer, and how far they are."""

    def __init__(self, settings: Settings, images: int, classes: int, device: torch.device, processes: int) -> None:
        from timm import create_model
        from timm.optim import RMSpropTF
        from timm.utils import ModelEmaV3

        self.settings, self.images, self.device = settings, images, device
        self.step = self.seen = 0  # steps made, and since the last row
        self.rows: list[dict[str, float]] = []
        self.sum = torch.zeros((), device=device)  # of the losses since the last row
        torch.manual_seed(_seed(settings.seed, "parameters"))
        regular: dict[str, Any] = {"drop_rate": DROPOUT, "drop_path_rate": DEPTH, "bn_momentum": 0.01}
        network = create_model(settings.model, num_classes=classes, **regular)
        self.network = network.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = ModelEmaV3(self.network, decay=AVERAGE)
        parameters = list(self.network.parameters())
        self.optimizer: torch.optim.Optimizer
        if settings.preset == "rmsprop":
            self.optimizer = RMSpropTF(parameters, lr=rate(settings, 0, images), alpha=0.9, eps=1e-3, momentum=0.9)
        else:
            self.optimizer = _cooling(parameters, settings, images)
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

    def make_step(self, batches: Iterator, process: int, processes: int) -> None:
        """One minibatch of all processes, one step of the optimizer."""
        s, share = self.settings, self.settings.batch // processes
        self.parallel.train()
        self.optimizer.zero_grad(set_to_none=False)
        done = 0
        while done < share:
            x, y = next(batches)
            torch.manual_seed(_seed(s.seed, "dropout", self.step, process, done))
            done += len(x)
            waits = done < share and processes > 1  # only the last micro-batch sums over processes
            with self.parallel.no_sync() if waits else contextlib.nullcontext():  # type: ignore[operator]
                logits = self._logits(self.parallel, x)
                loss = F.cross_entropy(logits, y.to(self.device), label_smoothing=SMOOTHING) * (len(x) / share)
                loss.backward()
            self.sum += loss.detach()
        torch._foreach_add_([p.grad for p in self.decayed], [p.detach() for p in self.decayed], alpha=DECAY)
        for group in self.optimizer.param_groups:
            group["lr"] = rate(s, self.step, self.images)
        self.optimizer.step()
        self.average.decay = min(AVERAGE, (1 + self.step) / (10 + self.step))
        self.average.update(self.network)
        self.step += 1
        self.seen += 1

    def agree(self) -> None:
        """Give every process the mean of what all have summed, so that one of them can save it for all."""
        if dist.is_initialized():
            dist.all_reduce(self.sum)
            self.sum /= dist.get_world_size()

    @torch.no_grad()
    def look(self, test: DataLoader, speed: float) -> None:
        """Evaluate the moving average, and add a row."""
        counts = torch.zeros(3, dtype=torch.float64, device=self.device)
        self.average.module.eval()
        for x, y in test:
            order = self._logits(self.average.module, x).argsort(1, descending=True)
            hits = order[:, :5] == y.to(self.device)[:, None]
            counts += torch.stack([hits[:, 0].sum(), hits.any(1).sum(), torch.tensor(len(y), device=self.device)])
        if dist.is_initialized():
            dist.all_reduce(counts)
        self.agree()
        top1, top5 = (counts[:2] / counts[2]).tolist()
        now = applied(self.settings, [self.step - 1], self.images).iloc[0]
        row = {"step": self.step, "epoch": self.step * self.settings.batch / self.images}
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
        """What the next step needs."""
        parts = {"network": self.network, "average": self.average.module, "optimizer": self.optimizer}
        counts = {"step": self.step, "seen": self.seen, "rows": self.rows, "sum": self.sum}
        return {name: part.state_dict() for name, part in parts.items()} | counts

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self.network.load_state_dict(state["network"])
        self.average.module.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.seen, self.rows = state["step"], state["seen"], state["rows"]
        self.sum.copy_(state["sum"])


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    given = Settings()
    parser = argparse.ArgumentParser(
        prog="python -m companion.recipes.train_imagenet",
        description=(__doc__ or "").split("\n")[0],
        epilog="See the module.",
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with train and val")
    parser.add_argument(
        "--out", type=Path, required=True, help="folder for the history and the checkpoint to resume from"
    )
    parser.add_argument("--preset", default=given.preset, help=" or ".join(PRESETS))
    parser.add_argument(
        "--lr", type=float, help="CoolMomentum's base rate, RMSprop's for 256 images (default: the paper's)"
    )
    parser.add_argument("--rho0", type=float, default=given.rho0, help="CoolMomentum's momentum at first")
    for name, what in (
        ("steps", "of the whole run"),
        ("batch", "images a step, over all processes"),
        ("micro", "images at once in a process"),
        ("pixels", "of a side"),
        ("seed", "of everything that is random"),
    ):
        parser.add_argument(f"--{name}", type=int, default=getattr(given, name), help=f"{what} (default: %(default)s)")
    parser.add_argument("--model", default=given.model, help="timm's name (default: %(default)s)")
    parser.add_argument("--precision", help="float32 or bfloat16 (default: bfloat16 on a GPU)")
    parser.add_argument("--until", type=int, help="stop after so many steps; the same command goes on")
    parser.add_argument("--evaluate-every", type=int, default=6255, help="steps (default: %(default)s)")
    parser.add_argument("--save-every", type=int, default=1000, help="steps (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=8, help="readers for each process (default: %(default)s)")
    parser.add_argument("--device", help="default: the GPU, where there is one")
    args = vars(parser.parse_args(arguments))
    how = {name: args.pop(name) for name in ("until", "evaluate_every", "save_every", "workers", "device")}
    data, out = args.pop("data"), args.pop("out")
    args["precision"] = args["precision"] or ("bfloat16" if torch.cuda.is_available() else "float32")
    try:
        history = train(Settings(**args), data, out, progress=True, **how)
    except ModuleNotFoundError as error:
        sys.exit(
            f"{error.name} is missing: the extra `imagenet` of this project brings it, pip install -e '.[imagenet]'"
        )
    except ValueError as error:
        sys.exit(str(error))
    if not int(os.environ.get("RANK", 0)):
        print(history.tail(1).to_string(index=False))


if __name__ == "__main__":
    main()
