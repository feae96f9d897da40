"""ResNet-20 on images that lie on the device, against the same training written with a DataLoader."""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader, Dataset

import thermolib as tl
from benchmarks.timing import Row, interleaved, ratio
from companion.recipes.cifar10 import SHIFT, Images
from companion.recipes.train_cifar10 import PENALTY, Run, Settings
from thermolib.data import Data, Split

IMAGES, BATCH = 640, 32
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
WHAT = f"ResNet-20, images of 32 x 32, batch {BATCH}, momentum"


def drawn(count: int) -> Split:
    """Images of noise: the time does not depend on what they show."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(0, 256, (count, 3, 32, 32), generator=generator, dtype=torch.uint8)
    return Split(x, torch.randint(0, 10, (count,), generator=generator))


class OneByOne(Dataset):
    """Images that are shifted and mirrored one at a time, when they are asked for."""

    def __init__(self, split: Split) -> None:
        self.images = Images(split, device=torch.device("cpu"))

    def __len__(self) -> int:
        return len(self.images.x)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        shift, mirrored = SHIFT * (2 * torch.rand(1, 2) - 1), torch.rand(1) < 0.5
        return self.images.altered(torch.tensor([index]), shift, mirrored)[0], self.images.y[index]


class Plain:
    """The loop of a tutorial: a DataLoader, an optimizer of all parameters, a loss that is read at every step."""

    def __init__(self, workers: int) -> None:
        keep = {"persistent_workers": True} if workers else {}
        self.loader = DataLoader(OneByOne(drawn(IMAGES)), BATCH, shuffle=True, num_workers=workers, **keep)
        self.network = tl.models.resnet20().to(DEVICE)
        self.kernels = [m.weight for m in self.network.modules() if isinstance(m, torch.nn.Conv2d)]
        self.optimizer = torch.optim.SGD(self.network.parameters(), lr=0.01, momentum=0.9)

    def epoch(self) -> float:
        self.network.train()
        total = 0.0
        for x, y in self.loader:
            self.optimizer.zero_grad()
            loss = F.cross_entropy(self.network(x.to(DEVICE)), y.to(DEVICE))
            loss = loss + PENALTY * sum(kernel.square().sum() for kernel in self.kernels)
            loss.backward()
            self.optimizer.step()
            total += loss.item()
        return total


def on_the_device(run: Run, epoch: int = 0) -> float:
    """An epoch of the library's loop, without a look at the whole data."""
    run.begin(epoch)
    for _ in range(run.settings.steps):
        run.step()
    return float(run._running)


def run() -> list[Row]:
    ours = Run(Settings("momentum", images=IMAGES, tests=BATCH), Data(drawn(IMAGES), drawn(BATCH)), DEVICE)
    plain = [Plain(workers) for workers in (0, 1)]
    works = [*(p.epoch for p in plain), partial(on_the_device, ours)]
    for work in works:  # what is made at the first call is not counted
        work()
    alone, worker, device = interleaved(works, [IMAGES] * 3, repeats=5)
    return [
        Row(f"{WHAT}: DataLoader", "images a second", 1 / alone.median, cores=alone.cores),
        Row(f"{WHAT}: DataLoader, one worker process", "images a second", 1 / worker.median, cores=worker.cores),
        Row(
            f"{WHAT}: all on the device",
            "images a second",
            1 / device.median,
            "DataLoader / this, in time",
            ratio(alone, device),
            device.cores,
        ),
    ]
