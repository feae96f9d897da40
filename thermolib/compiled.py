"""One compiled kernel sequence per kind of step: traced once, then called with tensors only.

A step is traced to a graph of tensor operations and handed to TorchInductor. All hyperparameters, seeds and counters
are tensor inputs, so a change of their values meets the same graph; there are no guards to check at every call.
What was compiled stays on the disk, in TorchInductor's folder, and the next process takes it from there.
"""

from __future__ import annotations

import contextlib
import functools
import operator
import shutil
import sysconfig
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch._guards import TracingContext, tracing
from torch._subclasses import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx
from torch.fx.experimental.symbolic_shapes import ShapeEnv
from torch.fx.passes.shape_prop import ShapeProp
from torch.fx.passes.split_module import split_module

__all__ = ["compilations", "compile_step", "possible", "trace_step"]

Flat = Callable[..., Sequence[Tensor]]

#: What was compiled, and the graph it came from, which keeps captured tensors alive.
_compiled: dict[tuple, tuple[Callable, Any]] = {}


def compilations() -> int:
    """How many steps this process has compiled."""
    return len(_compiled)


@functools.cache
def possible(device: str) -> bool:
    """Whether this machine can compile: on a CPU that needs a C++ compiler and Python's headers. Warns once if not."""
    if device != "cpu":
        return True
    from torch._inductor import config

    wanted = config.cpp.cxx if isinstance(config.cpp.cxx, (tuple, list)) else (config.cpp.cxx,)
    headers = Path(sysconfig.get_path("include")) / "Python.h"
    missing = "no C++ compiler was found" if not any(name and shutil.which(name) for name in wanted) else ""
    if not missing and not headers.exists():
        missing = f"{headers} is not there"
    if not missing:
        return True
    warnings.warn(
        f"{missing}, so steps run eagerly: the same numbers, several times slower",
        RuntimeWarning,
        stacklevel=3,
    )
    return False


def compile_step(step: Flat, example: Sequence[Tensor]) -> Callable[..., Sequence[Tensor]]:
    """The compiled form of a function of tensors, taken from this process if the same graph was compiled before.

    Compiled with the number of threads that torch has now.
    """
    return _compile(make_fx(step)(*example), example)


def _compile(graph: torch.fx.GraphModule, example: Sequence[Tensor]) -> Callable[..., Sequence[Tensor]]:
    constants = tuple(
        id(getattr(graph, str(node.target))) for node in graph.graph.nodes if node.op == "get_attr"
    )  # captured tensors are part of what was compiled; they are kept alive, so their ids stay unique
    kinds = tuple((t.shape, t.dtype, t.device) for t in example)
    identity = (graph.code, kinds, constants, torch.get_num_threads())
    if identity not in _compiled:
        from torch._inductor import compile as inductor_compile
        from torch._inductor import config

        # Only where shapes could be symbolic does TorchInductor look for what other processes have compiled, and only
        # settings, not the state of torch, tell it that the number of threads was another. Shapes are those of the
        # example and need no look at every call.
        context = TracingContext(FakeTensorMode(shape_env=ShapeEnv()))
        settings = config.patch({"cpp.threads": torch.get_num_threads(), "size_asserts": False})
        with tracing(context), settings, _plain_tanh(example[0].device.type):
            _compiled[identity] = inductor_compile(graph, list(example)), graph
    return _compiled[identity][0]


def trace_step(step: Flat, example: Sequence[Tensor], ends: bool = False) -> Callable[..., Sequence[Tensor]]:
    """The operations of a function of tensors, to be replayed one by one: the same numbers as the function gives,
    without the time that batching by ``vmap`` takes at every call, and without a compiler.

    With ``ends``, what comes before the network and what comes behind it, noise and bookkeeping, is compiled: many
    small operations, whose number does not grow with the depth.
    """
    graph = make_fx(step)(*example)
    _tidy(graph, example)
    if not ends:
        return _in_place(graph)
    pieces = split_module(graph, graph, _parts(graph).__getitem__)
    ends_of = {name: getattr(pieces, name) for name in ("submod_0", "submod_2") if hasattr(pieces, name)}
    given: dict[str, tuple] = {}
    hooks = [
        piece.register_forward_pre_hook(lambda _, args, name=name: given.__setitem__(name, args))
        for name, piece in ends_of.items()
    ]
    with torch.no_grad():
        pieces(*example)
    for hook, (name, piece) in zip(hooks, ends_of.items(), strict=True):
        hook.remove()
        delattr(pieces, name)
        setattr(pieces, name, _end(piece, given[name]))
    if isinstance(network := getattr(pieces, "submod_1", None), torch.fx.GraphModule):
        _in_place(network)
    return pieces


def _end(piece: torch.fx.GraphModule, example: Sequence[Tensor]) -> Callable[..., Any]:
    """A piece compiled; what gives one tensor alone is compiled as what gives a sequence of one."""
    output = piece.graph.output_node()
    if isinstance(output.args[0], tuple):
        return _compile(piece, example)
    output.args = ((output.args[0],),)
    piece.recompile()
    made = _compile(piece, example)
    return lambda *given: made(*given)[0]


#: What makes a network: the operations between the first and the last of these are replayed, all others compiled.
_NETWORK = {
    torch.ops.aten.mm.default,
    torch.ops.aten.bmm.default,
    torch.ops.aten.addmm.default,
    torch.ops.aten.baddbmm.default,
    torch.ops.aten.convolution.default,
    torch.ops.aten.tanh.default,
    torch.ops.aten.linalg_vector_norm.default,
}


def _parts(graph: torch.fx.GraphModule) -> dict[torch.fx.Node, int]:
    """0 for what the network does not precede, 1 for the network, 2 for what comes behind it."""
    nodes = list(graph.graph.nodes)
    behind: set[torch.fx.Node] = set()
    for node in nodes:
        if node.target in _NETWORK or not behind.isdisjoint(node.all_input_nodes):
            behind.add(node)
    part: dict[torch.fx.Node, int] = {}
    for node in reversed(nodes):
        after = [part[user] for user in node.users if user.op != "output"]
        if node in behind:
            part[node] = 1 if node.target in _NETWORK or 1 in after else 2
        else:  # views of parameters stay with the network, since there are as many as it has layers
            part[node] = 1 if after and min(after) > 0 and node.target in _VIEWS | _SLICES else 0
        for user in node.users:
            if user.target is operator.getitem:  # only tensors can go from one part to another, no lists of them
                part[user] = part[node]
    return part


#: Operations that may give back the tensor they are given, shape and layout and all.
_VIEWS = {
    torch.ops.aten.expand.default,
    torch.ops.aten.permute.default,
    torch.ops.aten.view.default,
    torch.ops.aten._unsafe_view.default,
}
_SLICES = {operator.getitem, torch.ops.aten.split_with_sizes.default, torch.ops.aten.unsqueeze.default}


def _tidy(graph: torch.fx.GraphModule, example: Sequence[Tensor]) -> None:
    """Take out what does nothing: on narrow networks such calls cost as much as those that compute."""
    with torch.no_grad():
        ShapeProp(graph).propagate(*example)
    for node in graph.graph.nodes:
        if node.target in _VIEWS:
            before, after = (n.meta["tensor_meta"] for n in (node.args[0], node))
            if (before.shape, before.stride) == (after.shape, after.stride):
                node.replace_all_uses_with(node.args[0])
    graph.graph.eliminate_dead_code()
    graph.recompile()


_IN_PLACE = {
    torch.ops.aten.add.Tensor: torch.ops.aten.add_.Tensor,
    torch.ops.aten.tanh.default: torch.ops.aten.tanh_.default,
}
#: Operations whose result is nobody else's memory.
_NEW = _NETWORK | {torch.ops.aten.add.Tensor, *_IN_PLACE.values()}


def _in_place(graph: torch.fx.GraphModule) -> torch.fx.GraphModule:
    """Let biases and activations overwrite what only they read: a layer then lives in two buffers that stay in the
    cache, where new ones for each operation would run through the memory."""
    for node in graph.graph.nodes:
        if node.target not in _IN_PLACE:
            continue
        given = node.args[0]
        if isinstance(given, torch.fx.Node) and given.target in _NEW and list(given.users) == [node]:
            before, after = (n.meta["tensor_meta"] for n in (given, node))
            if (before.shape, before.dtype) == (after.shape, after.dtype):
                node.target = _IN_PLACE[node.target]
    graph.recompile()
    return graph


@contextlib.contextmanager
def _plain_tanh(device: str) -> Iterator[None]:
    """On a CPU, call PyTorch's own hyperbolic tangent: the one that TorchInductor writes takes six times as long."""
    from torch._inductor import lowering

    tanh = torch.ops.aten.tanh.default
    written = lowering.lowerings[tanh]
    if device == "cpu":
        lowering.lowerings[tanh] = lowering.fallback_handler(tanh, add_to_fallback_set=False)
    try:
        yield
    finally:
        lowering.lowerings[tanh] = written
