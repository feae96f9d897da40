"""An integrator's step on a large network, compiled, against the same step as separate operations."""

from __future__ import annotations

import math

import torch
from torch import Tensor

import thermolib as tl
from benchmarks.timing import Row, interleaved, ratio
from thermolib.dynamics import State
from thermolib.engine import compiled
from thermolib.ground import noise

PARAMETERS = 11_000_000
STEP_SIZE, FRICTION, TEMPERATURE = 0.1, 1.0, 1e-3
KEPT = math.exp(-FRICTION * STEP_SIZE)
SPREAD = math.sqrt(TEMPERATURE * (1 - KEPT**2))
INTEGRATOR = tl.Langevin("BAOAB", step_size=STEP_SIZE, friction=FRICTION, temperature=TEMPERATURE)
MOVED, COPIED = 20 * PARAMETERS, 8 * PARAMETERS  # bytes: q, p and the force are read, q and p written


class Given:
    """A potential whose force somebody else has computed."""

    def __init__(self, force: Tensor) -> None:
        self._force = force

    def loss(self, q: Tensor) -> Tensor:
        raise TypeError("only the force of this potential is known")

    def force(self, q: Tensor) -> Tensor:
        return self._force


def step(q: Tensor, p: Tensor, force: Tensor, seed: Tensor, replica: Tensor, counter: Tensor, *values: Tensor) -> list:
    """The library's own step, as a function of tensors."""
    integrator = INTEGRATOR.with_values(dict(zip(INTEGRATOR.hyperparameters, values, strict=True)))
    return list(integrator.step(State(q, p), Given(force), noise.Key(seed, replica, counter)))


def separate(q: Tensor, p: Tensor, force: Tensor) -> tuple[Tensor, Tensor]:
    """B A O A, operation by operation."""
    p = p + STEP_SIZE * force
    q = q + STEP_SIZE / 2 * p
    p = KEPT * p + SPREAD * torch.randn_like(p)
    return q + STEP_SIZE / 2 * p, p


def in_place(q: Tensor, p: Tensor, force: Tensor) -> None:
    """The same without a new tensor but the noise."""
    p.add_(force, alpha=STEP_SIZE)
    q.add_(p, alpha=STEP_SIZE / 2)
    p.mul_(KEPT).add_(torch.randn_like(p), alpha=SPREAD)
    q.add_(p, alpha=STEP_SIZE / 2)


def run() -> list[Row]:
    q, p, force = (torch.randn(1, PARAMETERS) for _ in range(3))
    values = [torch.full((1, 1), float(value)) for value in INTEGRATOR.hyperparameters.values()]
    arguments = [q, p, force, *noise.key(0, 1)[:3], *values]
    fused = compiled.compile_step(step, arguments)
    fused(*arguments)
    works = [
        lambda: separate(q, p, force),
        lambda: in_place(q, p, force),
        lambda: fused(*arguments),
        q.clone,
    ]
    plain, placed, ours, copy = interleaved(works, [1] * 4, repeats=15)
    what = f"BAOAB on {PARAMETERS // 1_000_000} million parameters"
    share = (MOVED / ours.median) / (COPIED / copy.median)
    return [
        Row(f"{what}: separate operations", "ms per step", plain.median * 1e3, cores=plain.cores),
        Row(f"{what}: separate operations in place", "ms per step", placed.median * 1e3, cores=placed.cores),
        Row(f"{what}: compiled", "ms per step", ours.median * 1e3, "separate / this", ratio(plain, ours), ours.cores),
        Row(f"{what}: compiled", "ms per step", ours.median * 1e3, "in place / this", ratio(placed, ours), ours.cores),
        Row(f"{what}: compiled", "GB/s", MOVED / ours.median / 1e9, "share of a plain copy", share),
    ]
