"""The networks of the papers, as ordinary modules."""

from __future__ import annotations

import math
from collections import OrderedDict

import torch.nn.functional as F
from torch import Tensor, nn

from thermolib import checks

__all__ = ["resnet20", "shlp"]


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


def resnet20(classes: int = 10, width: int = 16) -> nn.Sequential:
    r"""ResNet-20, version 1, as the example of Keras builds it: images ``[B, 3, H, W]`` to logits ``[B, classes]``.

    Three stages of three residual blocks with ``width``, twice and four times as many channels,

    .. math:: y = \mathrm{relu}\left(C_2(\mathrm{relu}(C_1(x))) + s(x)\right)

    where C is a convolution of size 3 with its normalisation, and s the identity, or between stages a convolution of
    size 1 and stride 2 without one. What distinguishes it from other versions: every convolution has a bias;
    normalisation has :math:`\epsilon = 10^{-3}` and moving averages that keep 0.99 of the old; convolutions of stride 2
    are padded at the right and the bottom only; kernels and the last layer start from He's normal distribution, cut at
    two standard deviations, with the standard deviation :math:`\sqrt{2/\text{fan in}}` after the cut, from torch's
    random numbers; biases are zero. With width 16 it has 273,066 parameters and 1376 moving statistics.

    Raises
    ------
    ValueError : fewer than one class or channel.

    Source: He, Zhang, Ren, Sun (2016); Borysenko and Byshkin (2021), section 5.
    """
    checks.integer("classes", classes, 1)
    checks.integer("width", width, 1)
    stages: list[nn.Module] = []
    for stage, channels in enumerate((width, 2 * width, 4 * width)):
        before = channels // 2 if stage else channels
        blocks = [_Residual(before, channels, stride=2 if stage else 1), *(_Residual(channels, channels) for _ in "ab")]
        stages.append(nn.Sequential(*blocks))
    stem = nn.Sequential(nn.Conv2d(3, width, 3, padding=1), _normalisation(width), nn.ReLU())
    pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    network = nn.Sequential(
        OrderedDict(stem=stem, stages=nn.Sequential(*stages), pool=pool, output=nn.Linear(4 * width, classes))
    )
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            fan_in = layer.weight[0].numel()
            spread = math.sqrt(2 / fan_in) / _CUT
            nn.init.trunc_normal_(layer.weight, std=spread, a=-2 * spread, b=2 * spread)
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return network


#: Standard deviation of a standard normal number that is cut at -2 and 2.
_CUT = 0.87962566103423978


def _normalisation(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)


class _Residual(nn.Module):
    """Two convolutions beside a shortcut."""

    def __init__(self, inputs: int, channels: int, stride: int = 1) -> None:
        super().__init__()
        # at stride 2 the padding is not the same on all sides, and is made in `forward`
        self.first = nn.Conv2d(inputs, channels, 3, stride, padding=1 if stride == 1 else 0)
        self.first_normalisation = _normalisation(channels)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        self.second_normalisation = _normalisation(channels)
        self.shortcut = nn.Identity() if stride == 1 else nn.Conv2d(inputs, channels, 1, stride)
        self.padding = (0, 0, 0, 0) if stride == 1 else (0, 1, 0, 1)

    def forward(self, x: Tensor) -> Tensor:
        padded = F.pad(x, self.padding) if any(self.padding) else x
        y = F.relu(self.first_normalisation(self.first(padded)))
        return F.relu(self.second_normalisation(self.second(y)) + self.shortcut(x))
