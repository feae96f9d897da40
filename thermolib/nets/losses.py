"""Losses: each takes the output of one network and the targets, and returns the mean over the batch.

The average, not the sum, is the potential everywhere; the temperature says the rest.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor

__all__ = ["bce", "cross_entropy", "in_units", "mse", "sse"]


def bce(output: Tensor, target: Tensor) -> Tensor:
    r"""Binary cross entropy of logits, :math:`-\frac1B\sum_b [y\ln\hat y + (1-y)\ln(1-\hat y)]`.

    ``output`` is ``[B, 1]`` or ``[B]`` and holds logits: the sigmoid belongs to the loss. ``target`` is ``[B]``.
    """
    return F.binary_cross_entropy_with_logits(output.reshape(target.shape), target.to(output.dtype))


def cross_entropy(output: Tensor, target: Tensor) -> Tensor:
    r"""Cross entropy of logits ``[B, K]`` with classes ``[B]``, the softmax included."""
    return F.cross_entropy(output, target)


def mse(output: Tensor, target: Tensor) -> Tensor:
    """Mean squared error over the batch and the outputs; ``target`` has the shape of the output, or ``[B]``."""
    return F.mse_loss(output, target.reshape(output.shape).to(output.dtype))


def sse(output: Tensor, target: Tensor) -> Tensor:
    """Sum of squared errors over the batch and the outputs; ``target`` as for :func:`mse`."""
    return F.mse_loss(output, target.reshape(output.shape).to(output.dtype), reduction="sum")


def in_units(function: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    r"""A squared error of the targets that :func:`thermolib.datasets.min_max` mapped, in the units that they had.

    .. math:: L(\hat y, (y, u)) = u_1^2\, f(\hat y, y)

    Mapped targets are :math:`(t - m)/u`, so that a squared error of them is :math:`u^2` times too small; outputs are
    mapped likewise, and :math:`m` drops out. The unit is that of the first point: all of a batch have the same.

    Parameters
    ----------
    function : :func:`mse`, :func:`sse`, or another loss that is quadratic in its two arguments together.

    Returns
    -------
    Callable : the loss of an output, ``[B]`` or ``[B, 1]``, and targets ``[B, 2]``, the mapped target and its unit.

    Raises
    ------
    ValueError : when the loss is taken, targets that are not ``[B, 2]``.
    """

    @functools.wraps(function)
    def measured(output: Tensor, target: Tensor) -> Tensor:
        if target.ndim != 2 or target.shape[1] != 2:
            raise ValueError(
                f"target has shape {tuple(target.shape)}: it must be [B, 2], as thermolib.datasets.min_max returns it "
                "with targets=True"
            )
        return target[0, 1] ** 2 * function(output, target[:, 0])

    return measured
