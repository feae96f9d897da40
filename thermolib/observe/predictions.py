"""Predictions of an ensemble that is sampled along a run, gathered while it runs."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from thermolib.data.splits import Inputs, Splits
from thermolib.ground import checks
from thermolib.nets.ensemble import Ensemble

__all__ = ["Prediction", "Predictions"]


class Prediction(NamedTuple):
    """What each replica says about ``B`` inputs: ``mean``, ``spread`` and ``votes``, ``[R, B, ..., K]``.

    ``mean`` and ``spread`` (standard deviation) are over the samples of a replica, of the outputs or of what
    ``transform`` makes of them. ``votes`` is the share of samples whose largest output is the k-th; with one output
    (K = 1), the share of samples in which it is above zero. ``diverged`` says of which replicas these numbers mean
    nothing, ``[R]``. ``expected_entropy`` is the mean of the entropies of the samples, ``[R, B, ...]``, in nats, where
    ``transform`` makes probabilities of the K classes, or of class 1 where K = 1; else NaN.
    """

    mean: Tensor
    spread: Tensor
    votes: Tensor
    diverged: Tensor
    expected_entropy: Tensor

    @property
    def entropy(self) -> Tensor:
        r"""How unsure the averaged probabilities are, :math:`H = -\sum_k \bar p_k \ln \bar p_k`, ``[R, B, ...]``.

        Raises ValueError where no probabilities were averaged.
        """
        if bool(self.expected_entropy[~self.diverged].isnan().any()):
            raise ValueError("these are no predictions of probabilities: pass transform=torch.sigmoid, or a softmax")
        return entropy(self.mean)

    @property
    def mutual_information(self) -> Tensor:
        """What the samples disagree about: the entropy of their mean less the mean of theirs, ``[R, B, ...]``.

        The rest of :attr:`entropy`, :attr:`expected_entropy`, is what they agree cannot be known. Raises as that.

        Source: Houlsby, Huszar, Ghahramani, Lengyel (2011), "Bayesian active learning", Eq. (2).
        """
        return self.entropy - self.expected_entropy

    def pooled(self) -> Prediction:
        """All replicas that did not diverge as one ensemble: ``[1, B, ..., K]``. ValueError where all diverged."""
        parts = (self.mean, self.spread, self.votes, self.expected_entropy)
        mean, spread, votes, expected = (part[~self.diverged] for part in parts)
        if not len(mean):
            raise ValueError("all replicas diverged: there is nothing to predict with")
        between = mean.var(0, correction=0, keepdim=True)
        spread = (spread.square().mean(0, keepdim=True) + between).sqrt()
        none = torch.zeros(1, dtype=torch.bool)
        return Prediction(
            mean.mean(0, keepdim=True), spread, votes.mean(0, keepdim=True), none, expected.mean(0, keepdim=True)
        )


def entropy(probability: Tensor) -> Tensor:
    """In nats, of classes along the last dimension, or of class 1 where that is alone."""
    there = torch.special.entr(probability)
    return there.sum(-1) if there.shape[-1] > 1 else (there + torch.special.entr(1 - probability))[..., 0]


def _probable(values: Tensor) -> bool:
    """Whether these are probabilities: between 0 and 1, and of several classes the sum is 1."""
    inside = bool(((values >= 0) & (values <= 1)).all())
    return inside and (values.shape[-1] == 1 or bool(((values.sum(-1) - 1).abs() < 1e-3).all()))


def lost(values: Tensor) -> Tensor:
    """Which replicas have no finite values, ``[R]``."""
    return ~values.isfinite().flatten(1).all(1)


class Predictions:
    r"""The outputs for fixed inputs, gathered along a run in a memory that does not grow with it.

    Mean and sum of squares of the outputs are updated with each sample by Welford's recursion, in double precision,

    .. math::

        m_n &= m_{n-1} + (y_n - m_{n-1})/n, \qquad s_n = s_{n-1} + (y_n - m_{n-1})(y_n - m_n) \\
        \text{spread} &= \sqrt{s_n/(n-1)}

    votes are counted, and for quantiles a bounded number of samples is kept at even distances: when there are ``keep``
    of them, every second one is dropped and from then on half as many are taken.

    Pass it to :func:`thermolib.train` as ``collect``, or call :meth:`add` in a loop of your own.

    Parameters
    ----------
    x : inputs ``[B, ...]``, one tensor or several, or :class:`thermolib.datasets.Splits` with inputs of its own for
        each replica.
    after : steps that are not sampled, at the beginning.
    every : steps between samples.
    keep : samples kept for quantiles.
    transform : a function of the outputs ``[R, B, ..., K]``, what is to be averaged if not the outputs themselves:
        probabilities, by ``torch.sigmoid`` or ``lambda logits: logits.softmax(-1)``, and not logits, are what averages
        to the predictive distribution. Votes are of the outputs.

    Raises
    ------
    ValueError : a negative number of steps, a period below one, fewer than two samples to keep; results, quantiles or
        kept samples that are asked for before there is a sample; outputs that are not a row for each input.

    Source: Welford (1962), "Note on a method for calculating corrected sums of squares and products".
    """

    def __init__(
        self,
        x: Inputs | Splits,
        after: int = 0,
        every: int = 1,
        keep: int = 128,
        transform: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        self.x = x
        self.transform = transform
        self.after = checks.integer("after", after, 0)
        self.every = checks.integer("every", every, 1)
        self.keep = checks.integer("keep", keep, 2)
        self._parts: dict[int, _Running] = {}

    def begin(self, hyperparameters: Mapping[str, Tensor]) -> None:
        """What the run is plays no part here."""

    def read(self, ensemble: Ensemble, q: Tensor, rows: Tensor) -> Tensor:
        """The outputs ``[R, B, ..., K]`` of some replicas at positions ``q``; where inputs are their own, ``rows`` says
        whose. Outputs ``[R, B]`` are one each, K = 1."""
        own = isinstance(self.x, Splits)
        x = self.x.of(rows).x if isinstance(self.x, Splits) else self.x
        output = ensemble.predict(x, q, own=own)
        count = pytree.tree_leaves(x)[0].shape[own]
        if output.shape[1:2] != (count,):
            raise ValueError(
                f"module returned the shape {tuple(output.shape[1:])} for {count} inputs: it must return a row for each"
            )
        return output[..., None] if output.ndim == 2 else output

    def add(self, outputs: Tensor, step: int = 0, part: int = 0, diverged: Tensor | None = None) -> None:
        """Add one sample of each replica, ``[R, B, ..., K]``.

        Parameters
        ----------
        outputs : of the networks, ``[R, B, ..., K]``, as :meth:`read` returns them.
        step : of the run; it plays no part here.
        part : the number of the replicas that run together, where some run apart from others. The results hold the
            parts in the order of their numbers.
        diverged : which replicas have diverged, ``[R]``: nothing that they say counts for the ensemble, then or before.

        Raises
        ------
        ValueError : outputs of another shape than the samples before, or that are NaN or infinite though their replica
            has not diverged.
        """
        outputs = wide(outputs.detach().cpu())
        gone = torch.zeros(len(outputs), dtype=torch.bool) if diverged is None else diverged
        if bad := int((lost(outputs) & ~gone).sum()):
            raise ValueError(f"outputs has {bad} replicas with NaN or infinite numbers: say that they have diverged")
        self._parts.setdefault(part, _Running(self.keep)).add(outputs, self.transform, gone)

    def saved(self, part: int) -> dict[str, Any] | None:
        """What a checkpoint keeps of a part, by value; None where there is no sample yet."""
        return copy.deepcopy(vars(self._parts[part])) if part in self._parts else None

    def restore(self, part: int, saved: dict[str, Any] | None) -> None:
        """Take back what :meth:`saved` returned."""
        self._parts.pop(part, None)
        if saved is not None:
            self._parts[part] = _Running(self.keep)
            vars(self._parts[part]).update(saved)

    def __len__(self) -> int:
        """Samples of each replica so far."""
        return self._parts[0].count if self._parts else 0

    def _gathered(self) -> list[_Running]:
        if not self._parts:
            raise ValueError("there are no samples yet: after is not below the steps of the run, or nothing was added")
        return [self._parts[part] for part in sorted(self._parts)]

    @property
    def result(self) -> Prediction:
        """Mean, spread and votes so far."""
        parts = [part.result() for part in self._gathered()]
        return Prediction(*(torch.cat(tensors) for tensors in zip(*parts, strict=True)))

    @property
    def kept(self) -> Tensor:
        """The samples kept for quantiles, in their order: ``[S, R, B, ..., K]``."""
        return torch.cat([torch.stack(part.kept) for part in self._gathered()], 1)

    def quantiles(self, *levels: float, pool: bool = False) -> Tensor:
        """Quantiles of the kept outputs, interpolated linearly between two of them.

        Parameters
        ----------
        levels : one or more, at least 0 and below 1.
        pool : take all replicas that did not diverge as one ensemble.

        Returns
        -------
        ``[levels, R, B, ..., K]``, or ``[levels, 1, B, ..., K]`` with ``pool``.

        Raises
        ------
        ValueError : a level below 0, or of 1 and more; no samples yet.
        """
        for level in levels:
            checks.at_least("levels", level, 0.0, below=1.0)
        kept = self.kept
        kept = kept[:, ~self.result.diverged].flatten(0, 1)[:, None] if pool else kept
        return torch.quantile(kept, torch.tensor(levels, dtype=kept.dtype), dim=0)


def wide(values: Tensor) -> Tensor:
    """In single precision at least: numpy has no bfloat16, and half precision no quantiles."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


class _Running:
    """Welford's recursion for one part of the replicas."""

    def __init__(self, keep: int) -> None:
        self.count, self.stride, self.keep = 0, 1, keep
        self.mean = self.squares = self.voted = self.lost = self.unsure = torch.empty(0)
        self.kept: list[Tensor] = []

    def add(self, outputs: Tensor, transform: Callable[[Tensor], Tensor] | None, gone: Tensor) -> None:
        if self.count and outputs.shape != self.voted.shape:
            before = tuple(self.voted.shape)
            raise ValueError(
                f"outputs has shape {tuple(outputs.shape)}: it must be that of the samples before, {before}"
            )
        y = outputs if transform is None else transform(outputs)
        now = y.double()
        if not self.count:
            self.mean, self.squares = torch.zeros_like(now), torch.zeros_like(now)
            self.voted, self.lost = torch.zeros_like(outputs, dtype=torch.float64), gone
            self.unsure = now.new_zeros(now.shape[:-1])
        self.lost = self.lost | gone
        if self.count % self.stride == 0:
            self.kept.append(y.clone())
            if len(self.kept) == self.keep:
                self.kept, self.stride = self.kept[::2], 2 * self.stride
        self.count += 1
        change = now - self.mean
        self.mean += change / self.count
        self.squares += change * (now - self.mean)
        self.unsure += entropy(now) if _probable(now[~self.lost]) else math.nan
        classes = outputs.shape[-1]
        self.voted += (outputs > 0) if classes == 1 else torch.nn.functional.one_hot(outputs.argmax(-1), classes)

    def result(self) -> Prediction:
        spread = (self.squares / max(self.count - 1, 1)).sqrt()
        return Prediction(self.mean, spread, self.voted / self.count, self.lost, self.unsure / self.count)
