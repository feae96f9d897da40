"""The networks of the papers, as ordinary modules."""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Sequence

from torch import nn

from thermolib import checks

__all__ = ["lenet5", "mlp", "shlp"]


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


ACTIVATIONS = {"tanh": nn.Tanh, "relu": nn.ReLU, "elu": nn.ELU}


def mlp(sizes: Sequence[int], activation: str = "tanh") -> nn.Sequential:
    """A perceptron with an activation behind every layer but the last.

    Parameters
    ----------
    sizes : of the input, of the hidden layers, and of the output.
    activation : "tanh", "relu" or "elu".

    Raises
    ------
    ValueError : fewer than two sizes, a size below one, an unknown activation.

    Source: Babayan, Aliahmadi and van Anders (2024), "Model System Architecture".
    """
    checks.one_of("activation", activation, tuple(ACTIVATIONS))
    if len(sizes) < 2:
        raise ValueError(f"sizes={tuple(sizes)} is not allowed: it must name the input and the output at least")
    for size in sizes:
        checks.integer("sizes", size, 1)
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), ACTIVATIONS[activation]()]
    return nn.Sequential(*layers[:-1])


def lenet5() -> nn.Sequential:
    """LeNet-5 with ReLU for images of 28 x 28 pixels, given row by row as 784 numbers: 61,706 parameters.

    Convolutions of 5 x 5 to 6 channels (padded by 2) and to 16, each with average pooling by 2, and layers of 120, 84
    and 10.

    Source: LeCun, Bottou, Bengio, Haffner (1998); Babayan, Aliahmadi and van Anders (2024) for the ReLU.
    """
    return nn.Sequential(
        nn.Unflatten(-1, (1, 28, 28)),
        nn.Conv2d(1, 6, 5, padding=2),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Conv2d(6, 16, 5),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Flatten(-3),
        nn.Linear(400, 120),
        nn.ReLU(),
        nn.Linear(120, 84),
        nn.ReLU(),
        nn.Linear(84, 10),
    )
