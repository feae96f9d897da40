r"""How strong the signals are that feed a weight: what signal norm scales Monte Carlo moves by.

A weight :math:`x_i` into neuron j is moved on the scale :math:`\lambda_i\sigma` with

.. math:: \lambda_i = \Big(\frac1{N_\text{data}}\sum_\alpha \sum_{i' \to j} (S^\alpha_{i'})^2\Big)^{-1/2},

where the inner sum runs over all neurons that feed j, so that a move changes the input of every neuron by
:math:`\sigma`, however many signals it receives and however strong. Biases have :math:`\lambda = 1`. The signals are
those of the forward pass that the loss needs anyway.

- A linear layer: all its neurons have the same inputs.
- A convolution: the mean runs over the places that share the weight as well; padding counts as the zeros that it is.
- A recurrent layer: a neuron is fed by the input and by the hidden state before it, and the mean runs over time.
- Embeddings, and whatever has one parameter a neuron (normalisations, slopes): :math:`\lambda = 1`.

Source: Whitelam et al. (2022), section III B, Eqs. (11) to (18).
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from types import TracebackType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from thermolib.nets.models import Columns, Recurrent

__all__ = ["Listener"]

_CONVOLUTIONS = {nn.Conv1d: F.conv1d, nn.Conv2d: F.conv2d, nn.Conv3d: F.conv3d}
_CELLS = (nn.RNNCell, nn.GRUCell, nn.LSTMCell)
_RECURRENT = (nn.RNN, nn.GRU, nn.LSTM, Recurrent)
_ONES = (nn.Embedding, nn.EmbeddingBag)


class Listener:
    """A context in which forward passes of a module tell the power of the signals that feed each of its weights.

    The power is the mean over the data of the sum of the squares of all signals that feed a neuron, as the module's
    text defines it; :meth:`mean_squares` returns it.

    Parameters
    ----------
    module : what is listened to; its layers with a matrix of weights, but for embeddings, get a hook for the time of
        the context.

    Raises
    ------
    ValueError : a layer that holds a matrix of weights and is of no kind that the module's text names; a grouped
        convolution; one of PyTorch's recurrent layers with more than one layer or direction or with a projection, whose
        inner states nobody sees.

    Source: Whitelam et al. (2022), section III B, Eqs. (11) to (18).
    """

    def __init__(self, module: nn.Module) -> None:
        self._layers: list[tuple[nn.Module, list[str]]] = []
        self._heard: dict[str, list[tuple[Tensor, int]]] = {}
        self._handles: list[Any] = []
        names = {id(p): name for name, p in module.named_parameters()}
        for path, layer in module.named_modules():
            own = [p for p in layer.parameters(recurse=False) if p.ndim > 1]
            if own and not isinstance(layer, _ONES):
                _refuse(path or "the module", layer)
                self._layers.append((layer, [names[id(p)] for p in own]))

    def __enter__(self) -> Listener:
        self._heard = {}
        for layer, weights in self._layers:

            def hook(layer: nn.Module, args: tuple, output: Any, weights: list[str] = weights) -> None:
                heard = _power(layer, args, output)
                for weight in weights:
                    self._heard.setdefault(weight, []).append(heard)

            self._handles.append(layer.register_forward_hook(hook))
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        while self._handles:
            self._handles.pop().remove()

    def mean_squares(self, names: Sequence[str]) -> Tensor:
        """The mean over calls of the sum of the squared inputs, one for each parameter named, ``[T]``; 1 where it has
        no say, and 0 for a weight that no forward pass has used."""
        weights = {weight for _, own in self._layers for weight in own}
        heard = {name: values for name, values in self._heard.items() if name in names}
        once = [v[0] if len(v) == 1 else _over_calls(v) for v in heard.values()]
        # squared and divided all together: with many narrow layers the number of operations is what costs
        roots = torch.stack([root for root, _ in once]) if once else torch.zeros(0)
        stacked = roots.square() / _constant(tuple(count for _, count in once), roots.device)
        # behind them a zero, for weights that nothing has used, and a one, for what is no weight
        values = torch.cat([stacked, stacked.new_zeros(1), stacked.new_ones(1)])
        places = {name: number for number, name in enumerate(heard)}
        order = tuple(places.get(name, len(heard) + (name not in weights)) for name in names)
        return values.index_select(0, _constant(order, values.device))


@functools.cache
def _constant(numbers: tuple[int, ...], device: torch.device) -> Tensor:
    """One tensor for all steps, so that they are compiled once."""
    return torch.tensor(numbers, device=device)


def _refuse(path: str, layer: nn.Module) -> None:
    kind = type(layer).__name__
    if isinstance(layer, tuple(_CONVOLUTIONS)):
        groups = layer.groups
        if isinstance(groups, int) and groups > 1:
            raise ValueError(f"signal_norm does not take {path}, a {kind} with groups={groups}: it must have one group")
    elif isinstance(layer, (nn.RNN, nn.GRU, nn.LSTM)):
        if layer.num_layers > 1 or layer.bidirectional or layer.proj_size:
            raise ValueError(
                f"signal_norm does not take {path}, a {kind} with num_layers={layer.num_layers}, "
                f"bidirectional={layer.bidirectional}, proj_size={layer.proj_size}: it must be one plain layer, "
                "several of which can be put one after the other"
            )
    elif not isinstance(layer, (nn.Linear, Recurrent, *_CELLS)):
        raise ValueError(
            f"signal_norm does not take {path}, a {kind}: allowed are linear, convolutional and recurrent layers"
        )


def _over_calls(heard: list[tuple[Tensor, int]]) -> tuple[Tensor, int]:
    """The mean over several calls of a layer, in the form of one."""
    return torch.linalg.vector_norm(torch.stack([root * count**-0.5 for root, count in heard])), len(heard)


def _power(layer: nn.Module, args: tuple, output: Any) -> tuple[Tensor, int]:
    """The root of the sum of all squares that feed one neuron, and over how many data, places and times it goes."""
    x = args[0]
    if isinstance(layer, _CELLS):
        hidden = args[1] if len(args) > 1 else None
        return _both(x, hidden), x.shape[:-1].numel()
    if isinstance(layer, _RECURRENT):
        return _recurrent(layer, x, args[1:], output[0] if isinstance(output, tuple) else output)
    if isinstance(layer, Columns):
        return torch.linalg.vector_norm(x), x.shape[-1]
    for kind, convolve in _CONVOLUTIONS.items():
        if isinstance(layer, kind):
            return _patches(layer, convolve, x).sqrt(), 1
    return torch.linalg.vector_norm(x), x.shape[:-1].numel()


def _both(x: Tensor, *states: Any) -> Tensor:
    """The root of the sum of the squares of an input and of what is there of hidden states."""
    hidden = [state[0] if isinstance(state, tuple) else state for state in states if state is not None]
    return torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(t) for t in (x, *hidden)]))


def _patches(layer: Any, convolve: Any, x: Tensor) -> Tensor:
    """The sum of squares over the patch under the kernel, which is a convolution with ones, meaned over places."""
    squares, padding = x.square().sum(-1 - len(layer.kernel_size), keepdim=True), layer.padding
    if layer.padding_mode != "zeros":
        squares = F.pad(squares, layer._reversed_padding_repeated_twice, mode=layer.padding_mode)
        padding = 0
    ones = squares.new_ones((1, 1, *layer.kernel_size))
    return convolve(squares, ones, None, layer.stride, padding, layer.dilation).mean()


def _recurrent(layer: Any, x: Tensor, rest: tuple, output: Tensor) -> tuple[Tensor, int]:
    """What feeds a neuron at time t is the input at t and the hidden state at t - 1."""
    time = 1 if getattr(layer, "batch_first", True) and x.ndim == 3 else 0
    before = output.narrow(time, 0, output.shape[time] - 1)
    return _both(x, before, rest[0] if rest else None), output.shape[:-1].numel()
