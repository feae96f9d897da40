"""Many replicas at once, against the papers' way: one network, autograd, a Python loop over its tensors."""

from __future__ import annotations

import math
from functools import partial

import torch

import thermolib as tl
from benchmarks.timing import Row, interleaved, ratio

HIDDEN, BATCH, REPLICAS, POINTS = 100, 20, 64, 1000
STEP_SIZE, FRICTION, TEMPERATURE = 0.1, 10.0, 1e-5
WHAT = f"perceptron 2-{HIDDEN}-1, batch {BATCH}, BAOAB"
DATA = tl.datasets.trigonometric(length=3, frequency=2).train


def loop(steps: int, sizes: tuple[int, int, int] = (2, HIDDEN, 1), batch: int = BATCH) -> None:
    """BAOAB as one writes it on a first day: one network, and one thread, for more of them only slow it down."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    inputs, hidden, outputs = sizes
    module = torch.nn.Sequential(torch.nn.Linear(inputs, hidden), torch.nn.ReLU(), torch.nn.Linear(hidden, outputs))
    criterion = torch.nn.CrossEntropyLoss() if outputs > 1 else torch.nn.BCEWithLogitsLoss()
    x = torch.rand(POINTS, inputs)
    y = torch.randint(outputs, (POINTS,)) if outputs > 1 else (x[:, :1] > 0.5).float()
    parameters = list(module.parameters())
    momenta = [torch.zeros_like(p) for p in parameters]
    kept = math.exp(-FRICTION * STEP_SIZE)
    spread = math.sqrt(TEMPERATURE * (1 - kept**2))
    for step in range(steps):
        first = step * batch % POINTS
        if first == 0:
            order = torch.randperm(POINTS)
        points = order[first : first + batch]
        loss = criterion(module(x[points]), y[points])
        gradients = torch.autograd.grad(loss, parameters)
        with torch.no_grad():
            for q, p, gradient in zip(parameters, momenta, gradients, strict=True):
                p -= STEP_SIZE * gradient
                q += STEP_SIZE / 2 * p
                p.mul_(kept).add_(torch.randn_like(p), alpha=spread)
                q += STEP_SIZE / 2 * p
    torch.set_num_threads(threads)


def ensemble(replicas: int, steps: int) -> None:
    """The same work for many replicas, on all cores."""
    runs = tl.Ensemble(tl.models.shlp(2, HIDDEN), replicas=replicas, device="cpu")
    integrator = tl.Langevin("BAOAB", step_size=STEP_SIZE, friction=FRICTION, temperature=TEMPERATURE)
    tl.train(runs, integrator, DATA, loss=tl.losses.bce, batch_size=BATCH, steps=steps, every=steps, compile=True)


def run() -> list[Row]:
    """Everything in the call counts, but for the first compilation."""
    few, many = 2_000, 20_000
    ensemble(REPLICAS, 100)
    works = [partial(loop, few), partial(ensemble, REPLICAS, many)]
    plain, ours = interleaved(works, [few, many * REPLICAS], repeats=5)
    return [
        Row(f"{WHAT}: one network, a loop over tensors", "us per replica-step", plain.median * 1e6, cores=plain.cores),
        Row(
            f"{WHAT}: {REPLICAS} replicas",
            "us per replica-step",
            ours.median * 1e6,
            "loop / this",
            ratio(plain, ours),
            ours.cores,
        ),
    ]
