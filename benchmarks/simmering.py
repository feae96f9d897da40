"""Simmering: seeds at once against one at a time, a chain's step on a large network, and the memory of a prediction."""

from __future__ import annotations

import gc
import itertools
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

import thermolib as tl
from benchmarks.large_step import PARAMETERS, Given
from benchmarks.timing import Row, interleaved, ratio
from thermolib.dynamics import ChainState
from thermolib.engine import compiled
from thermolib.ground import noise

SEEDS, POINTS, SIZES = 36, 112, (2, 100, 50, 50, 3)
STEP_SIZE, TEMPERATURE = 0.001, 0.002
INTEGRATOR = tl.NoseHooverChain(STEP_SIZE, TEMPERATURE)
X = torch.linspace(-1, 1, 2 * POINTS).reshape(POINTS, 2)
Y = torch.arange(POINTS) % 3


def alone(steps: int) -> None:
    """Eqs. (30) to (38) for one network, with two links, as one writes them over its tensors."""
    module = tl.models.mlp(SIZES)
    parameters = list(module.parameters())
    velocities = [torch.zeros_like(p) for p in parameters]
    count, h = sum(p.numel() for p in parameters), STEP_SIZE
    s1 = s2 = v1 = v2 = torch.zeros(())
    for _ in range(steps):
        with torch.no_grad():
            s2 = s2 + h / 2 * v2
            heat = sum(v.square().sum() for v in velocities) - count * TEMPERATURE
            v1 = (v1 * torch.exp(-h / 4 * v2) + h / 2 * heat) * torch.exp(-h / 4 * v2)
            for q, v in zip(parameters, velocities, strict=True):
                q += h / 2 * v
        loss = torch.nn.functional.cross_entropy(module(X), Y)
        gradients = torch.autograd.grad(loss, parameters)
        with torch.no_grad():
            half = torch.exp(-h / 2 * v1)
            for q, v, gradient in zip(parameters, velocities, gradients, strict=True):
                v.mul_(half).add_(gradient, alpha=-h).mul_(half)
                q += h / 2 * v
            s1, v2 = s1 + h * v1, v2 + h * (v1 * v1 - TEMPERATURE)
            s2 = s2 + h / 2 * v2
            heat = sum(v.square().sum() for v in velocities) - count * TEMPERATURE
            v1 = (v1 * torch.exp(-h / 4 * v2) + h / 2 * heat) * torch.exp(-h / 4 * v2)


def together(steps: int) -> None:
    """All seeds, on all cores."""
    nets = tl.Ensemble(tl.models.mlp(SIZES), SEEDS, init=tl.init.glorot_normal(), device="cpu")
    data = tl.datasets.Split(X, Y)
    tl.train(nets, INTEGRATOR, data, loss=tl.losses.cross_entropy, steps=steps, every=steps, compile=True)


def multiply(a: Tensor) -> None:
    for _ in range(10):
        a @ a


def step(q: Tensor, p: Tensor, s: Tensor, vs: Tensor, force: Tensor, *given: Tensor) -> list:
    """The library's own step, as a function of tensors."""
    integrator = INTEGRATOR.with_values(dict(zip(INTEGRATOR.hyperparameters, given[3:], strict=True)))
    return list(integrator.step(ChainState(q, p, s, vs), Given(force), noise.Key(*given[:3])))


def separate(q: Tensor, p: Tensor, v1: Tensor, v2: Tensor, force: Tensor) -> tuple[Tensor, ...]:
    """The same step, operation by operation."""
    h, heat = STEP_SIZE, q.shape[1] * TEMPERATURE
    p = p * torch.exp(-h * v1) + h * force * torch.exp(-h / 2 * v1)
    v2 = v2 + h * (v1 * v1 - TEMPERATURE)
    q = q + h / 2 * p
    for _ in range(2):  # the end of this step and the beginning of the next
        v1 = v1 * torch.exp(-h / 2 * v2) + h / 2 * ((p * p).sum() - heat) * torch.exp(-h / 4 * v2)
    return q + h / 2 * p, p, v1, v2


def live() -> int:
    """Bytes of all tensors that there are."""
    gc.collect()
    tensors = [thing for thing in gc.get_objects() if type(thing) is Tensor and thing.device.type == "cpu"]
    return sum({t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}.values())


def memory(samples: int, collect: Callable[[], tl.Predictions | list] = lambda: tl.Predictions(X, keep=64)) -> int:
    """The bytes that are held when this many predictions were gathered."""
    before, found = live(), collect()
    add = found.append if isinstance(found, list) else found.add
    for number in range(samples):
        add(torch.full((8, 500, 3), float(number)))
    return live() - before


def run() -> list[Row]:
    few, many = 300, 300
    together(10)
    square = torch.randn(1024, 1024)
    works = [partial(alone, few), partial(together, many), partial(multiply, square)]
    plain, ours, product = interleaved(works, [few, many * SEEDS, 10], repeats=5)
    weights = sum(a * b for a, b in itertools.pairwise(SIZES))
    rate = 6 * weights * POINTS / ours.median
    peak = 2 * 1024**3 / product.median
    what = f"Iris network {'-'.join(map(str, SIZES))}, {POINTS} points, full batch"
    rows = [
        Row(f"{what}: one seed, a loop over tensors", "us per replica-step", plain.median * 1e6, cores=plain.cores),
        Row(
            f"{what}: {SEEDS} seeds", "us per replica-step", ours.median * 1e6, "loop / this", ratio(plain, ours),
            ours.cores,
        ),
        Row(f"{what}: {SEEDS} seeds", "GFLOP/s", rate / 1e9, "share of a 1024 matrix product", rate / peak),
    ]  # fmt: skip

    q, p, force = (torch.randn(1, PARAMETERS) for _ in range(3))
    links = torch.zeros(1, 1, 2)
    values = [torch.full((1, 1), float(value)) for value in INTEGRATOR.hyperparameters.values()]
    arguments = [q, p, links, links.clone(), force, *noise.key(0, 1, 5)[:3], *values]
    fused = compiled.compile_step(step, arguments)
    fused(*arguments)
    zero = torch.zeros(())
    works = [lambda: separate(q, p, zero, zero, force), lambda: fused(*arguments)]
    plain, ours = interleaved(works, [1, 1], repeats=15)
    what = f"Nosé-Hoover chain on {PARAMETERS // 1_000_000} million parameters"
    rows += [
        Row(f"{what}: separate operations", "ms per step", plain.median * 1e3, cores=plain.cores),
        Row(f"{what}: compiled", "ms per step", ours.median * 1e3, "separate / this", ratio(plain, ours), ours.cores),
    ]

    small, large = memory(63 * 2), memory(63 * 32)  # of at most 64 samples that are kept, 63 are held after both
    rows.append(Row(f"memory of a prediction: {63 * 32} samples", "MB", large / 1e6, f"this / {63 * 2}", large / small))
    return rows
