"""aMC on deep narrow networks: a step against a forward pass, many networks against a loop, and how the cost grows."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial

import torch
from torch import nn
from torch.utils import _pytree as pytree

import thermolib as tl
from benchmarks.timing import Row, interleaved, ratio
from thermolib.engine.compiled import compile_step
from thermolib.engine.replay import trace_step
from thermolib.engine.workers import keep_memory
from thermolib.ground.noise import Key, key
from thermolib.nets.ensemble import Batch

DEPTH, WIDTH, REPLICAS, POINTS = 64, 4, 10, 1000
RUNS = 20  # of each depth in Fig. 6
THETA = (torch.arange(POINTS)[:, None] + 0.5) / POINTS
TARGET = tl.datasets.Split(THETA, 0.5 * ((THETA > 0.5) & (THETA < 0.75)).float())
DIGITS, IMAGES = [784, 16, 16, 10], 10_000  # the paper has 60,000
LAW = tl.AdaptiveMonteCarlo(0.01, 0.01, 100, signal_norm=True)


def widths(depth: int, width: int) -> list[int]:
    return [1, *[width] * (depth - 1), 10, 1]


def ensemble(
    sizes: list[int], replicas: int, data: tl.datasets.Split = TARGET, made: Callable = trace_step
) -> tuple[Callable[[], object], Callable[[], object]]:
    """A step of aMC and a forward pass of the same ensemble, both made by what training makes a step by."""
    runs = tl.Ensemble(tl.models.mlp(sizes), replicas, tl.init.normal(0.3), device="cpu")
    potential = Batch(runs, tl.losses.mse, *runs.checked(data))
    law = LAW.bind(runs.sizes).columns(runs.q)
    state = law.begin(law.init(runs.q), potential)
    leaves, structure = pytree.tree_flatten(state)
    where = key(0, replicas)

    def step(step: torch.Tensor, *flat: torch.Tensor) -> list[torch.Tensor]:
        new = law.step(pytree.tree_unflatten(list(flat), structure), potential, Key(where.seed, where.replica, step))
        return pytree.tree_leaves(new)

    moving = partial(made(step, [where.step, *leaves]), where.step, *leaves)
    looking = partial(made(lambda q: [potential.loss(q)], [runs.q]), runs.q)
    return moving, looking


def loop(steps: int) -> None:
    """One network, aMC with signal norm as one writes it on a first day, on one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    sizes = widths(DEPTH, WIDTH)
    layers = [nn.Linear(a, b) for a, b in itertools.pairwise(sizes)]
    means = [[torch.zeros_like(p) for p in layer.parameters()] for layer in layers]

    def look() -> tuple[float, list[float]]:
        x, scales = TARGET.x, []
        for layer in layers:
            scales.append(float(x.square().sum(1).mean().rsqrt()))
            x = layer(x)
            x = x if layer is layers[-1] else torch.tanh(x)
        return float((x - TARGET.y).square().mean()), scales

    with torch.no_grad():
        loss, scales = look()
        for _ in range(steps):
            kept = [[p.clone() for p in layer.parameters()] for layer in layers]
            moves = []
            for layer, mean, scale in zip(layers, means, scales, strict=True):
                weight = mean[0] + 0.01 * scale * torch.randn_like(layer.weight)
                bias = mean[1] + 0.01 * torch.randn_like(layer.bias)
                layer.weight += weight
                layer.bias += bias
                moves.append((weight, bias))
            new, new_scales = look()
            if new <= loss:
                loss, scales = new, new_scales
                for mean, move in zip(means, moves, strict=True):
                    for m, e in zip(mean, move, strict=True):
                        m += 0.01 * (e - m)
            else:
                for layer, old in zip(layers, kept, strict=True):
                    layer.weight.copy_(old[0])
                    layer.bias.copy_(old[1])
    torch.set_num_threads(threads)


def many(work: Callable[[], object], times: int) -> None:
    for _ in range(times):
        work()


def run() -> list[Row]:
    what, unit, n = f"aMC, depth {DEPTH}, {POINTS} points", "us per replica-step", 20
    moving, _ = ensemble(widths(DEPTH, WIDTH), REPLICAS)
    keep_memory()  # as training does
    one, ours = interleaved([partial(loop, n), partial(many, moving, n)], [n, n * REPLICAS], repeats=7)
    rows = [
        Row(f"{what}: one network, a loop over layers", unit, one.median * 1e6, cores=one.cores),
        Row(f"{what}: {REPLICAS} replicas", unit, ours.median * 1e6, "loop / this", ratio(one, ours), ours.cores),
    ]
    grown = {
        "half the depth": (DEPTH // 2, WIDTH, REPLICAS),
        "8 times the width": (DEPTH, 8 * WIDTH, REPLICAS),
        "4 times the replicas": (DEPTH, WIDTH, 4 * REPLICAS),
    }
    for name, (depth, width, replicas) in grown.items():
        other = ensemble(widths(depth, width), replicas)[0]
        a, b = interleaved([partial(many, moving, n), partial(many, other, n)], [n * REPLICAS, n * replicas], repeats=5)
        rows.append(Row(f"{what}, {name}", unit, b.median * 1e6, "this / as above", ratio(b, a), b.cores))
    images = tl.datasets.Split(torch.rand(IMAGES, 784), torch.rand(IMAGES, 10))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as a chunk of replicas has it in training
    deep = ensemble(widths(DEPTH, WIDTH), RUNS, made=partial(trace_step, ends=True))
    wide = ensemble(DIGITS, REPLICAS, images, compile_step)
    digits = f"aMC, {'-'.join(map(str, DIGITS))}, {IMAGES} points"
    for name, works, runs, times in ((what, deep, RUNS, n), (digits, wide, REPLICAS, 2)):
        ours, forward = interleaved([partial(many, work, times) for work in works], [times * runs] * 2, repeats=9)
        rows += [
            Row(f"{name}, one thread: {runs} replicas", unit, ours.median * 1e6, cores=ours.cores),
            Row(
                f"{name}, one thread: forward pass",
                unit,
                forward.median * 1e6,
                "step / this",
                ratio(ours, forward),
                forward.cores,
            ),
        ]
    torch.set_num_threads(threads)
    return rows
