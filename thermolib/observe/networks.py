"""How well the networks do on data."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from thermolib.data.splits import Split, Splits, as_split
from thermolib.nets.ensemble import Batch, Ensemble, Loss

__all__ = ["accuracy", "determination", "loss", "r_squared"]


@dataclass(frozen=True)
class _OnData:
    """An observation that needs the ensemble: ``train`` binds it."""

    read: Callable[[Ensemble, Any, Any], Tensor]
    data: Split | Splits

    def bind(self, ensemble: Ensemble) -> _Bound:
        return _Bound(self.read, ensemble, as_split(self.data))


@dataclass(frozen=True)
class _Bound:
    """An observation of an ensemble. Where replicas have data of their own, it must be told which they are."""

    read: Callable[[Ensemble, Any, Any], Tensor]
    ensemble: Ensemble
    data: Split | Splits

    def __call__(self, state: Any) -> Tensor:
        return self.read(self.ensemble, state, self.data)

    def of(self, rows: Tensor) -> _Bound:
        """For a state that holds these replicas."""
        return dataclasses.replace(self, data=self.data.of(rows)) if isinstance(self.data, Splits) else self


def accuracy(data: Split | Splits) -> _OnData:
    r"""The share of a data set that each replica classifies correctly.

    .. math:: \frac1B\sum_b [\hat c_b = c_b]

    Logits ``[B, 1]`` or ``[B]`` are cut at zero, of ``[B, K]`` the largest wins; the targets c are classes ``[B]``.
    With :class:`thermolib.datasets.Splits` each replica has data of its own. One number from 0 to 1 per replica,
    ``[R]``, from the positions of the state; the whole set goes through all networks at once. It needs a network:
    :func:`thermolib.train` takes it, :func:`thermolib.simulate` cannot.

    Raises
    ------
    RuntimeError : when it is read, another number of targets than of inputs.
    """

    def read(ensemble: Ensemble, state: Any, data: Any) -> Tensor:
        output = ensemble.predict(data.x, state.q, own=isinstance(data, Splits))
        target = data.y.to(output.device)
        if output.ndim == 2 or output.shape[-1] == 1:
            predicted = (output.reshape(len(output), -1) > 0).to(target.dtype)
        else:
            predicted = output.argmax(-1).to(target.dtype)
        return (predicted == target).double().mean(1)

    return _OnData(read, data)


def r_squared(data: Split | Splits) -> _OnData:
    r"""The coefficient of determination :math:`R^2 = 1 - \sum(y - \hat y)^2/\sum(y - \bar y)^2` of one output.

    Targets are ``[N]``, or ``[N, 2]`` as :func:`thermolib.datasets.min_max` returns them.
    """

    def read(ensemble: Ensemble, state: Any, data: Any) -> Tensor:
        own = isinstance(data, Splits)
        output = ensemble.predict(data.x, state.q, own=own)
        target = data.y.to(output.device)
        return determination(output[..., 0], target[..., 0] if target.ndim > 1 + own else target)

    return _OnData(read, data)


def determination(output: Tensor, target: Tensor) -> Tensor:
    """:math:`R^2` of outputs ``[R, N]`` for targets ``[R, N]`` or ``[N]``."""
    centred = target - target.mean(-1, keepdim=True)
    return 1 - (output - target).square().sum(-1) / centred.square().sum(-1)


def loss(function: Loss, data: Split | Splits) -> _OnData:
    r"""The loss of each replica on a whole data set, whatever minibatches it is trained on.

    .. math:: U(q) = \mathrm{loss}(f_q(x), y)

    One number per replica, ``[R]``, in the units of the loss, from the positions of the state; the whole set goes
    through all networks at once. It needs a network: :func:`thermolib.train` takes it, :func:`thermolib.simulate`
    cannot.

    Parameters
    ----------
    function : of :mod:`thermolib.losses`, or a function of the output of one network and the targets.
    data : inputs and targets for all replicas, or :class:`thermolib.datasets.Splits`, one set for each.

    What the loss refuses, outputs and targets that do not fit, it refuses when it is read.
    """

    def read(ensemble: Ensemble, state: Any, data: Any) -> Tensor:
        part = data.to(ensemble.device, ensemble.dtype)
        return Batch(ensemble, function, part.x, part.y, own=isinstance(data, Splits)).loss(state.q)

    return _OnData(read, data)
