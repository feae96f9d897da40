"""CoolMomentum's step as an optimizer, against PyTorch's SGD with momentum and Adam on the same tensors."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

import thermolib as tl
from benchmarks.timing import Row, interleaved, ratio


def resnet(widths: list[int], blocks: int) -> list[tuple[int, ...]]:
    """The shapes of the parameters of a residual network for ten classes: convolutions, normalisation, the head."""
    shapes: list[tuple[int, ...]] = [(widths[0], 3, 3, 3), (widths[0],), (widths[0],)]
    before = widths[0]
    for width in widths:
        for _ in range(blocks):
            shapes += [(width, before, 3, 3), (width,), (width,), (width, width, 3, 3), (width,), (width,)]
            if before != width:
                shapes += [(width, before, 1, 1), (width,), (width,)]
            before = width
    return [*shapes, (10, before), (10,)]


#: Name to shapes and steps per timing.
NETWORKS = {"ResNet-20": (resnet([16, 32, 64], 3), 200), "ResNet-18": (resnet([64, 128, 256, 512], 2), 10)}
OPTIMIZERS: dict[str, Callable[[list[Tensor]], torch.optim.Optimizer]] = {
    "CoolMomentum": lambda p: tl.optim.CoolMomentum(p, lr=1e-3, steps=100_000),
    "torch.optim.SGD": lambda p: torch.optim.SGD(p, lr=1e-3, momentum=0.9, foreach=True),
    "torch.optim.Adam": lambda p: torch.optim.Adam(p, lr=1e-3, foreach=True),
}


def stepping(optimizer: torch.optim.Optimizer, steps: int) -> Callable[[], None]:
    """A number of steps, with what they have queued on a GPU done before the clock is read."""

    def work() -> None:
        for _ in range(steps):
            optimizer.step()
        if torch.cuda.is_available():
            torch.cuda.synchronize()

    return work


def run() -> list[Row]:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    rows = []
    for network, (shapes, steps) in NETWORKS.items():
        works = []
        for make in OPTIMIZERS.values():
            parameters = [torch.nn.Parameter(torch.randn(shape, device=device)) for shape in shapes]
            for p in parameters:
                p.grad = torch.randn_like(p)
            works.append(stepping(make(parameters), steps))
            works[-1]()
        ours, momentum, adam = interleaved(works, [steps] * len(works), repeats=15)
        million = sum(torch.Size(shape).numel() for shape in shapes) / 1e6
        what = f"{network}, {million:.2g} million parameters in {len(shapes)} tensors, {device.type}"
        unit = "ms per step"
        rows += [
            Row(f"{what}: torch.optim.SGD, momentum", unit, momentum.median * 1e3, cores=momentum.cores),
            Row(f"{what}: torch.optim.Adam", unit, adam.median * 1e3, cores=adam.cores),
            Row(f"{what}: CoolMomentum", unit, ours.median * 1e3, "this / SGD", ratio(ours, momentum), ours.cores),
            Row(f"{what}: CoolMomentum", unit, ours.median * 1e3, "Adam / this", ratio(adam, ours), ours.cores),
        ]
    return rows
