"""R copies of a network as one tensor ``[R, P]``."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vjp, vmap
from torch.utils import _pytree as pytree

from thermolib.data.splits import Inputs, Split, Splits, as_split
from thermolib.ground import checks, noise
from thermolib.nets import init
from thermolib.nets.layers import Sizes, output_names
from thermolib.nets.models import Recurrent
from thermolib.nets.signals import Listener

__all__ = ["Batch", "Ensemble"]

Loss = Callable[[Tensor, Tensor], Tensor]
Prior = float | Callable[[dict[str, Tensor]], Tensor]
_RECURRENT = (Recurrent, nn.RNNBase, nn.RNNCellBase)
_NORMALISATIONS = (nn.LayerNorm, nn.GroupNorm, nn.modules.batchnorm._NormBase)
#: Layers that PyTorch starts uniform within one over the root of their inputs, if nobody has said otherwise.
_UNIFORM = (nn.Linear.reset_parameters, nn.modules.conv._ConvNd.reset_parameters)
_OTHERWISE = nn.modules.linear.NonDynamicallyQuantizableLinear  # the output of attention, whose bias starts at zero


class Ensemble:
    """Replicas of a module: parameters as rows of one tensor, predictions and losses for all of them at once.

    Parameters
    ----------
    module : any ``nn.Module``. It is copied and serves as a template: buffers, and parameters with
        ``requires_grad=False``, keep their values and are shared by all replicas; only what is left counts as one.
    replicas : how many, or the numbers of the replicas. A replica's number is its place in the noise, so that
        ``replicas=[7]`` is the eighth row of ``replicas=8``.
    init : an initialiser of :mod:`thermolib.init`; ``tl.init.module()`` for the values that the module has. If not
        given, PyTorch's default for linear layers and convolutions, for recurrent layers, whose parameters are all
        uniform within one over the root of the number of hidden neurons, and for normalisations, which begin with
        scales of one and shifts of zero; parameters of all other classes keep the values that the module has.
    seed : of initial parameters and of the noise and minibatches in training, 0 to 2**32 - 1.
    device : the GPU if there is one and none is named.
    dtype : of the parameters.

    Attributes: ``q`` the initial parameters ``[R, P]``, ``names`` and ``shapes`` of the module's parameters.

    Raises
    ------
    ValueError : no replicas, a module without parameters to train, one whose training draws or keeps numbers of its
        own (dropout, moving statistics), a seed out of range, a device that is not there.
    """

    def __init__(
        self,
        module: nn.Module,
        replicas: int | Sequence[int] = 1,
        init: init.Initialiser | None = None,
        seed: int = 0,
        device: str | torch.device | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.device = checks.device(device)
        self.dtype = dtype
        self.seed = seed
        if not isinstance(replicas, (Sequence, Tensor)) or isinstance(replicas, str):
            replicas = range(checks.integer("replicas", replicas, 1))
        if not len(replicas):
            raise ValueError("replicas=[] is not allowed: there must be at least one")
        self.replicas = torch.tensor(list(replicas), dtype=torch.int64)
        self.module = copy.deepcopy(module).to(self.device, dtype)
        _refuse(self.module)
        named = {name: p for name, p in self.module.named_parameters() if p.requires_grad}
        if not named:
            raise ValueError(f"module={type(module).__name__} is not allowed: it has no parameters to train")
        self._composite = any(isinstance(layer, nn.RNNBase) for layer in self.module.modules())
        self.names = tuple(named)
        self.shapes = tuple(tuple(p.shape) for p in named.values())
        self._sizes = [p.numel() for p in named.values()]
        self.q = self._initial(init)

    def __len__(self) -> int:
        return len(self.replicas)

    @property
    def parameters(self) -> int:
        """Number of parameters of one replica."""
        return sum(self._sizes)

    @property
    def sizes(self) -> Sizes:
        """Number of elements of each parameter tensor, by name, in the order of the columns."""
        sizes = Sizes(zip(self.names, self._sizes, strict=True))
        sizes.output = output_names(self.module)
        return sizes

    def __repr__(self) -> str:
        kind = type(self.module).__name__
        return f"Ensemble({kind}, replicas={len(self)}, parameters={self.parameters}, device={self.device})"

    def _initial(self, initialiser: init.Initialiser | None) -> Tensor:
        key = noise.key(self.seed, self.replicas, device=self.device)
        own = dict(self.module.named_parameters())
        fans: dict[str, int] = {}
        known: set[str] = set()
        for prefix, module in self.module.named_modules():
            mine = dict(module.named_parameters(prefix=prefix, recurse=False))
            weight = getattr(module, "weight", None)
            if isinstance(weight, nn.Parameter) and weight.ndim > 1:
                fans |= dict.fromkeys(mine, weight[0].numel())
            if isinstance(module, _RECURRENT):  # all of their parameters start alike
                fans |= dict.fromkeys(mine, int(module.hidden if isinstance(module, Recurrent) else module.hidden_size))
            if isinstance(module, _NORMALISATIONS) and initialiser is None:
                own |= {n: torch.full_like(p, float(n.endswith("weight"))) for n, p in mine.items()}
            reset = getattr(type(module), "reset_parameters", None)
            if isinstance(module, _RECURRENT) or (reset in _UNIFORM and not isinstance(module, _OTHERWISE)):
                known |= set(mine)
        rows = []
        for number, (name, shape) in enumerate((name, tuple(p.shape)) for name, p in own.items()):
            if name not in self.names:  # it keeps its number, so that others begin alike whether it is trained or not
                continue
            value = own[name].detach().reshape(1, -1).expand(len(self), -1)
            if initialiser is None and name not in known:
                rows.append(value)
                continue

            def draw(kind: str, number: int = number) -> init.Draw:
                def numbers(size: tuple[int, ...]) -> Tensor:
                    drawn = getattr(key, kind)(noise.INIT + number, torch.Size(size).numel(), self.dtype)
                    return drawn.reshape(len(self), *size)

                return numbers

            fan_in = fans.get(name, torch.Size(shape).numel())
            made = (initialiser or init.uniform_fan_in())(name, shape, fan_in, draw("normal"), draw("uniform"))
            made = made.reshape(len(self), -1)
            rows.append(value + made if isinstance(initialiser, init.Around) else made)
        return torch.cat(rows, 1)

    def named(self, q: Tensor) -> dict[str, Tensor]:
        """The parameters by name, as views: ``[R, P]`` to ``[R, *shape]`` each, or ``[P]`` to ``[*shape]``.

        Behind them stand those that are not trained.
        """
        parts = zip(self.names, q.split(self._sizes, dim=-1), self.shapes, strict=True)
        frozen = {
            n: p.expand(*q.shape[:-1], *p.shape) for n, p in self.module.named_parameters() if not p.requires_grad
        }
        return {name: x.reshape(*q.shape[:-1], *shape) for name, x, shape in parts} | frozen

    def single(self, q: Tensor, x: Inputs) -> Tensor:
        """The output of one network with parameters ``[P]`` for the inputs ``[B, ...]``; several are its arguments."""
        args, kwargs = ((), x) if isinstance(x, dict) else (x if isinstance(x, tuple) else (x,), {})

        def output(q: Tensor) -> Tensor:
            return functional_call(self.module, self.named(q), args, kwargs)

        # PyTorch takes recurrent layers apart, so that they can be batched, only for a derivative
        return vjp(output, q)[0] if self._composite else output(q)

    def predict(self, x: Inputs, q: Tensor | None = None, own: bool = False) -> Tensor:
        """The outputs of all replicas for shared inputs: ``[B, ...]`` to ``[R, B, ...]``, without gradients.

        With ``own``, each replica has inputs of its own, ``[R, B, ...]``. Raises ValueError where the module returns
        anything but one tensor, or draws numbers of its own.
        """
        with torch.no_grad():
            x = pytree.tree_map(lambda t: t.to(self.device, self.dtype if t.is_floating_point() else None), x)
            q = self.q if q is None else q.to(self.device, self.dtype)
            name = f"module={type(self.module).__name__}"
            try:
                output = vmap(self.single, in_dims=(0, 0 if own else None))(q, x)
            except RuntimeError as error:
                if "randomness" not in str(error):
                    raise
                raise ValueError(f"{name} draws random numbers of its own: call module.eval() first") from error
        if not isinstance(output, Tensor):
            raise ValueError(f"{name} returns a {type(output).__name__}: wrap it in a module that returns one tensor")
        return output

    def potential(self, loss: Loss, data: Split | Splits, prior: Prior | None = None) -> Callable[[Tensor], Tensor]:
        """The loss on a whole data set as a function ``[R, P] -> [R]``, with the prior that :func:`thermolib.train`
        takes."""
        data, own = self.checked(data), isinstance(data, Splits)
        return Batch(self, loss, data.x, data.y, own, self.penalty(prior, data.y.shape[own])).loss

    def penalty(self, prior: Prior | None, points: int) -> Callable[[Tensor], Tensor] | None:
        r"""What a prior adds to the mean loss of N points, :math:`-\frac1N\ln\pi(\theta)`, of one network's parameters
        ``[P]``. ValueError for a precision that is negative or not finite."""
        if prior is None:
            return None
        if callable(prior):
            return lambda q: prior(self.named(q)) / points
        checks.at_least("prior", prior)
        return lambda q: prior * q.square().sum() / (2 * points)

    def checked(self, data: Any) -> Any:
        """The data on the ensemble's device and in its type; ValueError where it does not fit or is not finite."""
        data = as_split(data).to(self.device, self.dtype)
        inputs = pytree.tree_leaves(data.x)
        counts = {len(x) for x in inputs}
        many = " or ".join(map(str, sorted(counts))) or "no"
        if isinstance(data, Splits) and not counts == {len(data.y)} == {len(self)}:
            raise ValueError(f"data has {many} splits for {len(self)} replicas: there must be one for each")
        if counts != {len(data.y)} or not len(data.y):
            raise ValueError(f"data has {many} inputs and {len(data.y)} targets: as many of each, at least one")
        for name, tensor in [*(("inputs", x) for x in inputs), ("targets", data.y)]:
            if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
                bad = int((~tensor.isfinite()).reshape(len(tensor), -1).any(1).sum())
                raise ValueError(f"data has {bad} {name} that are NaN or infinite: all must be finite numbers")
        return data


def _refuse(module: nn.Module) -> None:
    """ValueError for a layer that draws numbers of its own or keeps statistics that replicas would have to share."""
    for path, layer in module.named_modules():
        name = f"{path or 'module'}={type(layer).__name__}"
        if layer.training and (getattr(layer, "p", 0) or getattr(layer, "dropout", 0)) and _draws(layer):
            raise ValueError(f"{name} is not allowed while it drops neurons: call module.eval() first, or leave it out")
        if layer.training and isinstance(layer, nn.modules.batchnorm._NormBase) and layer.track_running_stats:
            raise ValueError(
                f"{name} is not allowed while it gathers statistics, which replicas would share: call module.eval() "
                "first, or take nn.GroupNorm or track_running_stats=False"
            )


def _draws(layer: nn.Module) -> bool:
    return isinstance(layer, (nn.modules.dropout._DropoutNd, nn.RNNBase, nn.MultiheadAttention))


class Batch:
    r"""The loss on a batch, as integrators see it, and its force.

    .. math:: q \mapsto L(f(x;\, q),\, y), \qquad G(q) = -\nabla L

    for each row of ``q``, ``[R, P]``: ``loss`` returns ``[R]``, ``force`` ``[R, P]``. The attribute ``fixed``
    is true where all replicas have the same data.

    Parameters
    ----------
    ensemble : the networks.
    loss : of the output of one network and the targets, one number.
    x, y : inputs ``[B, ...]``, one tensor or several, and targets ``[B]`` or ``[B, ...]`` of all replicas, on the
        ensemble's device; with ``own``, ``[R, B, ...]`` and ``[R, B]`` or ``[R, B, ...]``. They are not checked; see
        :meth:`Ensemble.checked`.
    own : whether each replica has data of its own.
    penalty : what is added to the loss, a function of the parameters ``[P]``; see :meth:`Ensemble.penalty`.

    Raises
    ------
    ValueError : when it is evaluated, a loss that is not one number.
    """

    def __init__(
        self,
        ensemble: Ensemble,
        loss: Loss,
        x: Inputs,
        y: Tensor,
        own: bool = False,
        penalty: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        self.fixed = not own
        self._ensemble = ensemble
        self._dims = (0, 0, 0) if own else (0, None, None)
        self._x, self._y = x, y

        def one(q: Tensor, x: Inputs, y: Tensor) -> Tensor:
            value = loss(ensemble.single(q, x), y)
            value = value if penalty is None else value + penalty(q)
            if value.ndim:
                raise ValueError(
                    f"loss{'' if penalty is None else ' with its prior'} returned the shape {tuple(value.shape)}: it "
                    "must return one number"
                )
            return value

        self._one = one

    def loss(self, q: Tensor) -> Tensor:
        return vmap(self._one, self._dims)(q, self._x, self._y)

    def loss_and_signals(self, q: Tensor) -> tuple[Tensor, Tensor]:
        """The loss ``[R]``, and the mean squares of the signals that feed each parameter tensor ``[R, T]``."""
        listener = Listener(self._ensemble.module)

        def both(q: Tensor, x: Inputs, y: Tensor) -> tuple[Tensor, Tensor]:
            with listener:
                value = self._one(q, x, y)
            return value, listener.mean_squares(self._ensemble.names)

        return vmap(both, self._dims)(q, self._x, self._y)

    def force(self, q: Tensor) -> Tensor:
        return -vmap(grad(self._one), self._dims)(q, self._x, self._y)
