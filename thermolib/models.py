"""The networks of the papers, as ordinary modules."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from thermolib import checks

__all__ = ["shlp"]


def shlp(inputs: int, hidden: int, outputs: int = 1) -> nn.Sequential:
    r"""Single hidden layer perceptron with ReLU, :math:`\hat y = W_2\,\mathrm{relu}(W_1 x + b_1) + b_2`.

    Its layers are named ``hidden`` and ``output``, which are the groups that partitioned integrators ask for. The
    output is a logit: the sigmoid or softmax belongs to the loss.

    Source: Leimkuhler, Matthews, Vlaar (2019), section 1.1.
    """
    for name, value in (("inputs", inputs), ("hidden", hidden), ("outputs", outputs)):
        checks.integer(name, value, 1)
    return nn.Sequential(
        OrderedDict(hidden=nn.Linear(inputs, hidden), relu=nn.ReLU(), output=nn.Linear(hidden, outputs))
    )
