"""The networks of the papers, as ordinary modules."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from thermolib.ground import checks

__all__ = ["Columns", "Recurrent", "lenet5", "mlp", "recurrent", "resnet18", "resnet20", "shlp"]


def shlp(inputs: int, hidden: int, outputs: int = 1) -> nn.Sequential:
    r"""Single hidden layer perceptron with ReLU, :math:`\hat y = W_2\,\mathrm{relu}(W_1 x + b_1) + b_2`.

    Its layers are named ``hidden`` and ``output``, which are the groups that partitioned integrators ask for. The
    output is a logit: the sigmoid or softmax belongs to the loss. Inputs are ``[B, inputs]``, logits ``[B, outputs]``.

    Raises
    ------
    ValueError : fewer than one input, hidden node or output.

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


class _LayerNormalised(nn.Module):
    """Two convolutions beside a shortcut, with layer normalisation."""

    def __init__(self, inputs: int, channels: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, channels, 3, stride, padding=1, bias=False)
        self.first_normalisation = nn.GroupNorm(1, channels)
        self.second = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.second_normalisation = nn.GroupNorm(1, channels)
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or inputs != channels:
            one = nn.Conv2d(inputs, channels, 1, stride, bias=False)
            self.shortcut = nn.Sequential(one, nn.GroupNorm(1, channels))

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.first_normalisation(self.first(x)))
        return F.relu(self.second_normalisation(self.second(y)) + self.shortcut(x))


def resnet18(classes: int = 10, channels: int = 1, width: int = 64) -> nn.Sequential:
    """ResNet-18 with layer normalisation: images ``[B, channels, H, W]`` to logits ``[B, classes]``.

    A convolution of size 7 and stride 2 and a maximum over 3 x 3 of stride 2, then four stages of two residual blocks
    with ``width``, twice, four and eight times as many channels, the mean over places, and a linear layer. Where He et
    al. have batch normalisation, all channels and places of an image are normalised together, with one scale and one
    shift for each channel: nothing is shared between images, so that a replica needs no moving statistics. With one
    channel of input and 64 of width it has 11,175,370 parameters.

    Raises
    ------
    ValueError : fewer than one class or channel.

    Source: He, Zhang, Ren, Sun (2016); Ba, Kiros, Hinton (2016); Whitelam et al. (2022), section II F.
    """
    for name, value in (("classes", classes), ("channels", channels), ("width", width)):
        checks.integer(name, value, 1)
    stem = [nn.Conv2d(channels, width, 7, 2, padding=3, bias=False), nn.GroupNorm(1, width), nn.ReLU()]
    blocks: list[nn.Module] = [*stem, nn.MaxPool2d(3, 2, padding=1)]
    before = width
    for stage in range(4):
        now = width << stage
        blocks += [_LayerNormalised(before, now, 2 if stage else 1), _LayerNormalised(now, now, 1)]
        before = now
    return nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(-3), nn.Linear(before, classes))


class Columns(nn.Linear):
    """A linear layer whose data points are columns, ``[inputs, B]`` to ``[outputs, B]``: with few neurons and many
    points it is several times as fast as one whose points are rows."""

    def forward(self, x: Tensor) -> Tensor:
        product = self.weight @ x
        return product if self.bias is None else product + self.bias[:, None]


class _Transpose(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.transpose(-1, -2)


ACTIVATIONS = {"tanh": nn.Tanh, "relu": nn.ReLU, "elu": nn.ELU}


def mlp(sizes: Sequence[int], activation: str = "tanh") -> nn.Sequential:
    """A perceptron with an activation behind every layer but the last: ``[B, inputs]`` to ``[B, outputs]``.

    Parameters
    ----------
    sizes : of the input, of the hidden layers, and of the output.
    activation : "tanh", "relu" or "elu".

    Raises
    ------
    ValueError : fewer than two sizes, a size below one, an unknown activation.

    Source: Whitelam et al. (2022), sections II A to II E; Babayan, Aliahmadi and van Anders (2024), "Model System
    Architecture".
    """
    checks.one_of("activation", activation, tuple(ACTIVATIONS))
    if len(sizes) < 2:
        raise ValueError(f"sizes={tuple(sizes)} is not allowed: it must name the input and the output at least")
    for size in sizes:
        checks.integer("sizes", size, 1)
    narrow = max(sizes[1:]) <= 16  # then data points as columns are several times as fast
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        layers += [(Columns if narrow else nn.Linear)(inputs, outputs), ACTIVATIONS[activation]()]
    named = [(str(i), layer) for i, layer in enumerate(layers[:-1])]  # the same names for both
    if narrow:
        named = [("columns", _Transpose()), *named, ("rows", _Transpose())]
    return nn.Sequential(OrderedDict(named))


class Recurrent(nn.Module):
    r"""One recurrent layer that ensembles can run, from ``[B, T, inputs]`` to all its hidden states ``[B, T, hidden]``.

    .. math::

        \text{tanh} &: h_t = \tanh(W x_t + b + V h_{t-1} + c) \\
        \text{gru} &: h_t = (1 - z_t)\,n_t + z_t\,h_{t-1}, \qquad
            n_t = \tanh\!\big(W_n x_t + b_n + r_t\,(V_n h_{t-1} + c_n)\big), \qquad
            r_t, z_t = \mathrm{sigmoid}(\dots)

    The parameters have the names, the order and the first values of PyTorch's ``nn.RNN`` and ``nn.GRU``, which cannot
    be run for many sets of parameters at once.

    Raises ValueError where a size is below 1 or the kind is another.

    Source: Whitelam et al. (2022), section II D.
    """

    def __init__(self, inputs: int, hidden: int, kind: str = "tanh") -> None:
        super().__init__()
        checks.integer("inputs", inputs, 1)
        checks.integer("hidden", hidden, 1)
        checks.one_of("kind", kind, ("tanh", "gru"))
        self.hidden, self.kind = hidden, kind
        rows = hidden if kind == "tanh" else 3 * hidden
        self.weight_ih_l0 = nn.Parameter(torch.empty(rows, inputs))
        self.weight_hh_l0 = nn.Parameter(torch.empty(rows, hidden))
        self.bias_ih_l0 = nn.Parameter(torch.empty(rows))
        self.bias_hh_l0 = nn.Parameter(torch.empty(rows))
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -1 / math.sqrt(hidden), 1 / math.sqrt(hidden))

    def extra_repr(self) -> str:
        return f"{self.weight_ih_l0.shape[1]}, {self.hidden}, {self.kind}"

    def forward(self, x: Tensor) -> Tensor:
        tanh = self.kind == "tanh"
        bias = self.bias_ih_l0 + self.bias_hh_l0 if tanh else self.bias_ih_l0
        driven = F.linear(x.transpose(0, 1), self.weight_ih_l0, bias)  # time first: slices are contiguous
        hidden = x.new_zeros(x.shape[0], self.hidden)
        states = []
        for now in driven.unbind(0):
            if tanh:
                hidden = torch.tanh(now + hidden @ self.weight_hh_l0.T)
            else:
                back = F.linear(hidden, self.weight_hh_l0, self.bias_hh_l0)
                (r, z, n), (vr, vz, vn) = now.chunk(3, -1), back.chunk(3, -1)
                z = torch.sigmoid(z + vz)
                hidden = (1 - z) * torch.tanh(n + torch.sigmoid(r + vr) * vn) + z * hidden
            states.append(hidden)
        return torch.stack(states, 1)


class _Last(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x[:, -1]


def recurrent(inputs: int, hidden: int, outputs: int, layers: int = 2, kind: str = "tanh") -> nn.Sequential:
    """A stack of recurrent layers whose last hidden state goes to a linear classifier.

    From ``[B, T, inputs]`` to logits ``[B, outputs]``; each layer is a :class:`Recurrent` of ``hidden`` neurons.

    Raises
    ------
    ValueError : fewer than one input, hidden neuron, output or layer; a kind that is not "tanh" or "gru".

    Source: Whitelam et al. (2022), section II D.
    """
    checks.integer("layers", layers, 1)
    stack = [Recurrent(inputs if i == 0 else hidden, hidden, kind) for i in range(layers)]
    return nn.Sequential(*stack, _Last(), nn.Linear(hidden, checks.integer("outputs", outputs, 1)))


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
