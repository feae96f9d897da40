"""Steps of deep networks, replayed: their operations recorded once, rid of what does nothing, and called one by one.

To compile a network takes time for every layer it has. Replayed, it needs none, and on narrow layers what counts is how
many operations there are, how fast each is called, and whether what it works on is still in the cache.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.fx.passes.shape_prop import ShapeProp
from torch.fx.passes.split_module import split_module

from thermolib.engine.compiled import Flat, compile_graph, recorded

__all__ = ["trace_step"]


def trace_step(step: Flat, example: Sequence[Tensor], ends: bool = False) -> Callable[..., Sequence[Tensor]]:
    """The operations of a function of tensors, to be replayed one by one: the numbers that the function gives,
    without the time that batching by ``vmap`` takes at every call, and without a compiler.

    With ``ends``, what comes before the network and what comes behind it, noise and bookkeeping, is compiled: many
    small operations, whose number does not grow with the depth.
    """
    graph = recorded(step, example)
    _tidy(graph, example)
    if not ends:
        return _by_hand(graph)
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
        _by_hand(network)
    return pieces


def _end(piece: torch.fx.GraphModule, example: Sequence[Tensor]) -> Callable[..., Any]:
    """A piece compiled; what gives one tensor alone is compiled as what gives a sequence of one."""
    output = piece.graph.output_node()
    if isinstance(output.args[0], tuple):
        return compile_graph(piece, example)
    output.args = ((output.args[0],),)
    piece.recompile()
    made = compile_graph(piece, example)
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
        if node in behind:  # what stacks as many tensors as there are layers stays with them
            stays = node.target in _NETWORK or node.target is torch.ops.aten.stack.default
            part[node] = 1 if stays or 1 in after else 2
        else:  # views of parameters stay with the network, since there are as many as it has layers
            first = min(after, default=0)
            part[node] = first if first == 2 or node.target in _VIEWS | _SLICES else 0
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


def _by_hand(module: torch.fx.GraphModule) -> torch.fx.GraphModule:
    """A graph as one would write it who calls its operations one by one."""
    _in_place(module.graph)
    _direct(module.graph)
    module.recompile()
    return module


def _in_place(graph: torch.fx.Graph) -> None:
    """Let biases and activations overwrite what only they read."""
    for node in graph.nodes:
        if node.target not in _IN_PLACE:
            continue
        given = node.args[0]
        if isinstance(given, torch.fx.Node) and given.target in _NEW and list(given.users) == [node]:
            before, after = (n.meta["tensor_meta"] for n in (given, node))
            if (before.shape, before.dtype) == (after.shape, after.dtype):
                node.target = _IN_PLACE[node.target]


def _direct(graph: torch.fx.Graph) -> None:
    """Call functions and methods with the same arguments: to look up an operator takes longer than most views do."""
    for node in graph.nodes:
        name = getattr(node.target, "_opname", "") if node.target in _VIEWS | _SLICES | _NEW else ""
        if name == "linalg_vector_norm":
            node.target = torch.linalg.vector_norm
        elif hasattr(torch, name):
            node.target = getattr(torch, name)
        elif hasattr(Tensor, name):
            node.op, node.target = "call_method", name
