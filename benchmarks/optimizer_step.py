"""A step of every optimizer, against PyTorch's on the same tensors: processor time of one thread."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

import thermolib as tl
from benchmarks.timing import Row, interleaved, ratio
from thermolib.optim import flat

Parameters = list[nn.Parameter]


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


def gpt(letters: int, length: int, width: int, blocks: int) -> list[tuple[int, ...]]:
    """The shapes of a transformer for letters: embeddings, attention, perceptrons, normalisation."""
    norm: list[tuple[int, ...]] = [(width,), (width,)]
    attention: list[tuple[int, ...]] = [(3 * width, width), (3 * width,), (width, width), (width,)]
    perceptron: list[tuple[int, ...]] = [(4 * width, width), (4 * width,), (width, 4 * width), (width,)]
    return [(letters, width), (length, width), *(norm + attention + norm + perceptron) * blocks, *norm]


#: Name to shapes, and steps per timing.
NETWORKS = {
    "ResNet-20": (resnet([16, 32, 64], 3), 20),
    "small GPT": (gpt(65, 64, 64, 2), 20),
    "ResNet-18": (resnet([64, 128, 256, 512], 2), 2),
}
RATE = {"step_size": 1e-6}


def layers(p: Parameters) -> list[dict[str, Any]]:
    return [{"params": p[:-2]}, {"params": p[-2:]}]


OURS: dict[str, Callable[[Parameters], torch.optim.Optimizer]] = {
    "Langevin": lambda p: tl.optim.Langevin(p, temperature=1e-9, **RATE),
    "Langevin, temperature 0": lambda p: tl.optim.Langevin(p, **RATE),
    "SGLD": lambda p: tl.optim.SGLD(p, temperature=1e-9, **RATE),
    "AdaptiveLangevin": lambda p: tl.optim.AdaptiveLangevin(p, **RATE),
    "AdaptiveLangevin, one draw": lambda p: tl.optim.AdaptiveLangevin(p, word="BAFEAB", **RATE),
    "LangevinInLayers": lambda p: tl.optim.LangevinInLayers(layers(p), **RATE),
    "LOL": lambda p: tl.optim.LOL(layers(p), **RATE),
    "AdLaLa": lambda p: tl.optim.AdLaLa(layers(p), **RATE),
    "NoseHooverChain": lambda p: tl.optim.NoseHooverChain(p, **RATE),
    "CoolMomentum": lambda p: tl.optim.CoolMomentum(p, lr=1e-6, steps=10**6),
}


def parameters(shapes: list[tuple[int, ...]]) -> Parameters:
    made = [nn.Parameter(torch.randn(shape)) for shape in shapes]
    for p in made:
        p.grad = 1e-3 * torch.randn_like(p)
    return made


def plain(made: Parameters) -> Callable[[], None]:
    """BAOA as one would write it, tensor by tensor with PyTorch's own noise."""
    momenta = [torch.zeros_like(p) for p in made]

    @torch.no_grad()
    def step() -> None:
        for p, m in zip(made, momenta, strict=True):
            assert p.grad is not None
            m.add_(p.grad, alpha=-1e-3)
            p.add_(m, alpha=0.5e-3)
            m.mul_(0.99).add_(torch.randn_like(m), alpha=1e-6)
            p.add_(m, alpha=0.5e-3)

    return step


def repeated(step: Callable[[], Any], times: int) -> Callable[[], None]:
    def work() -> None:
        for _ in range(times):
            step()

    return work


@contextmanager
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def run() -> list[Row]:
    rows = []
    with one_thread():
        for network, (shapes, times) in NETWORKS.items():
            steps: dict[str, Callable[[], Any]] = {
                "torch.optim.SGD, momentum, foreach": torch.optim.SGD(
                    parameters(shapes), lr=1e-6, momentum=0.9, foreach=True
                ).step,
                "torch.optim.Adam, fused": torch.optim.Adam(parameters(shapes), lr=1e-6, fused=True).step,
                "Langevin with randn_like": plain(parameters(shapes)),
            }
            for name, make in OURS.items():
                steps[name] = make(parameters(shapes)).step
                steps[name]()  # compiles
            few, flat.FEW = flat.FEW, 1 << 60
            steps["Langevin, not compiled"] = OURS["Langevin"](parameters(shapes)).step
            steps["Langevin, not compiled"]()
            flat.FEW = few
            works = [repeated(step, times) for step in steps.values()]
            found = interleaved(works, [times] * len(works), repeats=7, clock=time.process_time)
            million = sum(torch.Size(shape).numel() for shape in shapes) / 1e6
            what = f"{network}, {million:.2g} million parameters in {len(shapes)} tensors"
            for name, taken in zip(steps, found, strict=True):
                compared = ("", None) if taken is found[0] else ("this / SGD", ratio(taken, found[0]))
                rows.append(Row(f"{what}: {name}", "ms per step", taken.median * 1e3, *compared))
    return rows
