r"""Counter-based random numbers: noise as a function of (seed, replica, step, draw, index).

Philox4x32 maps a 128-bit counter and a 64-bit key to four 32-bit words. Here the key is (seed, replica) and the
counter (index, step, draw, high part of the step), so that a number can be asked for in any order, on any device,
alone or in a batch, and is the same number. Everything is written in integer tensor operations, so that the compiler
fuses it into the step that consumes it.

Source: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3" (SC11); seven rounds, the fewest
that its authors found to pass every test of BigCrush.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from thermolib.ground import checks

__all__ = ["DATA", "INIT", "ORDER", "PROBE", "Key", "key", "permutation", "philox"]

_MASK = 0xFFFFFFFF
ROUNDS = 7

#: Draw numbers from here up belong to purposes other than the steps of an integrator.
INIT, ORDER, DATA, PROBE = (1 << 16) * 1, (1 << 16) * 2, (1 << 16) * 3, (1 << 16) * 4


def philox(counter: tuple[Tensor, ...], key: tuple[Tensor, ...], rounds: int = ROUNDS) -> tuple[Tensor, ...]:
    """Encrypt a counter of four words under a key of two: four words that look random.

    Words are int64 tensors that hold unsigned 32-bit values; the shapes broadcast. The 64-bit products overflow the
    sign bit, and the high halves of c1, c3 and of the keys hold rubbish, until the masks remove it all.
    """
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(rounds):
        p0, p1 = c0 * 0xD2511F53, c2 * 0xCD9E8D57
        c0, c1, c2, c3 = ((p1 >> 32) ^ c1 ^ k0) & _MASK, p1, ((p0 >> 32) ^ c3 ^ k1) & _MASK, p0
        k0, k1 = k0 + 0x9E3779B9, k1 + 0xBB67AE85
    return c0, c1 & _MASK, c2, c3 & _MASK


class Key(NamedTuple):
    """Where in the noise a step is: seed ``[]``, replica ``[R, 1]`` and step ``[]``, all int64; and a draw offset.

    Words and permutations can be asked for at several steps at once, ``[S, 1, 1]``; they then have an axis S before R.
    """

    seed: Tensor
    replica: Tensor
    step: Tensor
    offset: int = 0

    def at(self, *, later: int = 0, offset: int = 0) -> Key:
        """The same key a number of steps later, or with its draws moved to another range."""
        return self._replace(step=self.step + later, offset=self.offset + offset)

    def bits(self, draw: int, count: int) -> Tensor:
        """``[R, count]`` random 32-bit words as int64."""
        index = torch.arange((count + 3) // 4, device=self.replica.device)[None, :]
        zero = torch.zeros_like(self.replica + index)
        counter = (zero + index, zero + (self.step & _MASK), zero + (self.offset + draw), zero + (self.step >> 32))
        words = philox(counter, (zero + self.seed, zero + self.replica))
        return torch.stack(words, -1).flatten(-2)[..., :count]

    def uniform(self, draw: int, count: int, dtype: torch.dtype = torch.float32) -> Tensor:
        """``[R, count]`` numbers, uniform on (0, 1); in float32 and narrower types the largest of them round to 1."""
        wide = torch.promote_types(dtype, torch.float32)
        return ((self.bits(draw, count).to(wide) + 0.5) * 2.0**-32).to(dtype)

    def normal(self, draw: int, count: int, dtype: torch.dtype = torch.float32) -> Tensor:
        r"""``[R, count]`` standard normal numbers, by Box and Muller:
        :math:`\sqrt{-2\ln u_0}\,(\cos 2\pi u_1, \sin 2\pi u_1)` and the same of :math:`u_2, u_3`.
        """
        index = torch.arange((count + 3) // 4, device=self.replica.device)[None, :]
        zero = torch.zeros_like(self.replica + index)
        counter = (zero + index, zero + (self.step & _MASK), zero + (self.offset + draw), zero + (self.step >> 32))
        wide = torch.promote_types(dtype, torch.float32)  # half precision has no numbers as small as these
        u0, u1, u2, u3 = (
            (word.to(wide) + 0.5) * 2.0**-32 for word in philox(counter, (zero + self.seed, zero + self.replica))
        )
        r0, r1 = torch.sqrt(-2.0 * torch.log(u0)), torch.sqrt(-2.0 * torch.log(u2))
        a0, a1 = (2.0 * math.pi) * u1, (2.0 * math.pi) * u3
        numbers = (r0 * torch.cos(a0), r0 * torch.sin(a0), r1 * torch.cos(a1), r1 * torch.sin(a1))
        return torch.stack(numbers, -1).flatten(1)[:, :count].to(dtype)


def key(seed: int, replicas: int | Tensor, step: int = 0, device: torch.device | str = "cpu") -> Key:
    """The key of a number of replicas, counted from 0, or of the replicas with the given numbers.

    Raises ValueError where the seed or a replica's number does not fit 32 bits.
    """
    seed = checks.integer("seed", seed, 0)
    if seed > _MASK:
        raise ValueError(f"seed={seed} is not allowed: it must be below 2**32")
    numbers = torch.arange(replicas) if isinstance(replicas, int) else torch.as_tensor(replicas, dtype=torch.int64)
    if numbers.numel() and (int(numbers.min()) < 0 or int(numbers.max()) > _MASK):
        raise ValueError("replicas has a number outside 0 to 2**32 - 1")
    return Key(
        torch.tensor(seed, dtype=torch.int64, device=device),
        numbers.to(device)[:, None],
        torch.tensor(step, dtype=torch.int64, device=device),
    )


def permutation(key: Key, count: int, draw: int = ORDER) -> Tensor:
    """``[R, count]`` int64: a random order of 0 to count - 1 for each replica, by sorting random words.

    The index is carried in the low bits of the number sorted, so that there are no ties and no dependence on the
    sorting algorithm.
    """
    keyed = (key.bits(draw, count) << 31) | torch.arange(count, device=key.replica.device)
    if keyed.device.type == "cpu":  # numpy's sort is ten times as fast here
        array = keyed.numpy()
        array.sort(axis=-1)
        keyed = torch.from_numpy(np.ascontiguousarray(array))
    else:
        keyed = keyed.sort(dim=-1).values
    return keyed & 0x7FFFFFFF
