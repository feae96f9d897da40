"""The noise of a row of parameters: a function of (seed, name of the parameter, element, step, draw)."""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from thermolib.engine import compiled
from thermolib.ground import noise

__all__ = ["Draws", "Key", "start"]

#: A random word serves this many neighbours at once, and each of its four numbers is a stretch as long: stretches are
#: what a processor computes together, and blocks of four of them are what a parameter's noise is made of.
LANE = 16

#: Blocks whose noise is computed eagerly at once: what they need stays in a processor's cache.
_CHUNK = 1 << 14


def start(parameter: Any) -> int:
    """Which of a parameter's elements is the first that this process holds.

    Raises ValueError for a parameter that is cut otherwise than along its first dimension.
    """
    first, cut = 0, False
    for dim, placement in enumerate(getattr(parameter, "placements", ())):
        if placement.is_replicate():
            continue
        if cut or not placement.is_shard(0):
            raise ValueError(f"a parameter is placed as {parameter.placements}: it may be cut along dimension 0 alone")
        cut, mesh = True, parameter.device_mesh
        rows = math.ceil(len(parameter) / mesh.size(dim)) * mesh.get_local_rank(dim)
        first = min(rows, len(parameter)) * math.prod(parameter.shape[1:])
    return first * (2 if parameter.is_complex() else 1)


def _numbers(
    kind: str, ids: Sequence[Tensor], place: Sequence[Tensor], dtype: torch.dtype, full: bool = False
) -> Tensor:
    """``[B, 4 LANE]`` random numbers for B blocks of parameters: their numbers, and two halves of the names' digests.

    Counters are written out in full where that is compiled, which is three times as fast then, and else broadcast.
    """
    (block, high, low), (seed, step, draw) = ids, place
    index = block[:, None] * LANE + torch.arange(LANE, device=block.device)
    parts: tuple[Tensor, ...] = (index, step & 0xFFFFFFFF, draw, step >> 32, (seed ^ high)[:, None], low[:, None])
    if full:
        zero = torch.zeros_like(index)
        parts = (index, *(zero + part for part in parts[1:]))
    words = noise.philox(parts[:4], parts[4:])
    if kind == "bits":
        return torch.cat(words, 1)
    u0, u1, u2, u3 = ((word.to(dtype) + 0.5) * 2.0**-32 for word in words)
    if kind == "uniform":
        return torch.cat((u0, u1, u2, u3), 1)
    r0, r1 = torch.sqrt(-2.0 * torch.log(u0)), torch.sqrt(-2.0 * torch.log(u2))
    a0, a1 = (2.0 * math.pi) * u1, (2.0 * math.pi) * u3
    return torch.cat((r0 * torch.cos(a0), r0 * torch.sin(a0), r1 * torch.cos(a1), r1 * torch.sin(a1)), 1)


class Draws:
    """Random numbers for a row, each a function of (seed, name of the parameter, element, step, draw)."""

    def __init__(self, names: list[str], starts: list[int], sizes: list[int], device: torch.device) -> None:
        width = 4 * LANE
        firsts = [s // width for s in starts]
        counts = [-(-(s + n) // width) - f for s, n, f in zip(starts, sizes, firsts, strict=True)]
        digests = [hashlib.blake2b(name.encode(), digest_size=8).digest() for name in names]
        halves = (torch.tensor([int.from_bytes(d[i : i + 4], "big") for d in digests]) for i in (0, 4))
        blocks = torch.cat([torch.arange(f, f + c) for f, c in zip(firsts, counts, strict=True)])
        table = [blocks, *(half.repeat_interleave(torch.tensor(counts)) for half in halves)]
        self._table = [part.to(device) for part in table]
        begins = itertools.accumulate(counts[:-1], initial=0)
        self._slices = [(b * width + s % width, n) for b, s, n in zip(begins, starts, sizes, strict=True)]
        self._cut = any(first + n != later for (first, n), (later, _) in itertools.pairwise(self._slices))
        self._size = sum(sizes)
        ends = [0, *(first + n for first, n in self._slices)]  # of what lies before each parameter, and of each
        gaps = [(first - end, n) for (first, n), end in zip(self._slices, ends, strict=False)]
        self._gaps = [*itertools.chain(*gaps), width * sum(counts) - ends[-1]]
        self._fast: dict[tuple, tuple] = {}

    def draw(self, what: tuple, seed: int, steps: int, fast: bool) -> Tensor:
        """``[1, P]`` numbers, one for each of the row; another count of them belongs to no parameter."""
        kind, later, draw, count, dtype = what
        place = [torch.full((), x, device=self._table[0].device) for x in (seed, steps + later, draw)]
        if count != self._size:
            key = noise.Key(place[0], torch.full_like(place[0], 0xFFFFFFFF)[None, None], place[1])
            return key.bits(draw, count) if kind == "bits" else getattr(key, kind)(draw, count, dtype)
        wide = torch.int64 if kind == "bits" else torch.promote_types(dtype, torch.float32)
        if not fast:
            chunks = zip(*(part.split(_CHUNK) for part in self._table), strict=True)
            padded = torch.cat([_numbers(kind, ids, place, wide) for ids in chunks]).view(-1)
            return torch.cat(padded.split(self._gaps)[1::2])[None]
        arguments = [*self._table, *place]
        if what not in self._fast:

            def program(*given: Tensor) -> list[Tensor]:
                return [_numbers(kind, given[:3], given[3:], wide, full=True)]

            found = self._table[0].new_empty((1, count), dtype=wide)
            parts = found[0].split([n for _, n in self._slices])
            self._fast[what] = compiled.compile_step(program, arguments), found, parts
        run, found, parts = self._fast[what]
        padded = run(*arguments)[0].view(-1)
        if not self._cut:
            return padded[None, self._slices[0][0] :][:, :count]
        torch._foreach_copy_(parts, padded.split(self._gaps)[1::2])
        return found


class Key(NamedTuple):
    """Stands where integrators expect a key; what they draw from it is asked of a function."""

    ask: Callable[[str, int, int, int, torch.dtype], Tensor]
    step: Tensor
    later: int = 0
    offset: int = 0

    def at(self, *, later: int = 0, offset: int = 0) -> Key:
        return Key(self.ask, self.step + later, self.later + later, self.offset + offset)

    def normal(self, draw: int, count: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return self.ask("normal", self.later, self.offset + draw, count, dtype)

    def uniform(self, draw: int, count: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return self.ask("uniform", self.later, self.offset + draw, count, dtype)

    def bits(self, draw: int, count: int) -> Tensor:
        return self.ask("bits", self.later, self.offset + draw, count, torch.float32)
