"""The networks of the papers, as ordinary modules."""

from __future__ import annotations

import math
from collections import OrderedDict
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from thermolib import checks

__all__ = ["Columns", "Recurrent", "mlp", "recurrent", "shlp"]


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


class Columns(nn.Linear):
    """A linear layer whose data points are columns, ``[inputs, B]`` to ``[outputs, B]``: with few neurons and many
    points it is several times as fast as one whose points are rows."""

    def forward(self, x: Tensor) -> Tensor:
        product = self.weight @ x
        return product if self.bias is None else product + self.bias[:, None]


class _Transpose(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.transpose(-1, -2)


def mlp(*widths: int) -> nn.Sequential:
    r"""Perceptron with hyperbolic tangents, :math:`S_l = \tanh(W_l S_{l-1} + b_l)`, and a linear output layer.

    ``widths`` are the numbers of inputs, of the neurons of each hidden layer, and of outputs. Data points are rows
    outside, ``[B, inputs]`` to ``[B, outputs]``, and columns inside.

    Raises ValueError where there are fewer than two widths, or one below 1.

    Source: Whitelam et al. (2022), sections II A to II E.
    """
    if len(widths) < 2:
        raise ValueError(f"widths={widths} is not allowed: it must name at least inputs and outputs")
    sizes = [checks.integer("widths", width, 1) for width in widths]
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        layers += [Columns(inputs, outputs), nn.Tanh()]
    return nn.Sequential(_Transpose(), *layers[:-1], _Transpose())


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
        driven = F.linear(x.transpose(0, 1), self.weight_ih_l0, self.bias_ih_l0)  # time first: slices are contiguous
        hidden = x.new_zeros(x.shape[0], self.hidden)
        states = []
        for now in driven.unbind(0):
            back = F.linear(hidden, self.weight_hh_l0, self.bias_hh_l0)
            if self.kind == "tanh":
                hidden = torch.tanh(now + back)
            else:
                (r, z, n), (vr, vz, vn) = now.chunk(3, -1), back.chunk(3, -1)
                z = torch.sigmoid(z + vz)
                hidden = (1 - z) * torch.tanh(n + torch.sigmoid(r + vr) * vn) + z * hidden
            states.append(hidden)
        return torch.stack(states, 1)


class _Last(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x[:, -1]


def recurrent(inputs: int, hidden: int, outputs: int, layers: int = 2, kind: str = "tanh") -> nn.Sequential:
    """A stack of :class:`Recurrent` layers whose last hidden state goes to a linear classifier: ``[B, T, inputs]`` to
    logits ``[B, outputs]``.

    Source: Whitelam et al. (2022), section II D.
    """
    checks.integer("layers", layers, 1)
    stack = [Recurrent(inputs if i == 0 else hidden, hidden, kind) for i in range(layers)]
    return nn.Sequential(*stack, _Last(), nn.Linear(hidden, checks.integer("outputs", outputs, 1)))
