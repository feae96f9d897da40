"""Steps of deep networks, replayed: their operations recorded once, put in the order and the memory that one would
choose by hand, and called one by one.

To compile a network takes time for every layer it has. Replayed, it needs none, and on narrow layers what counts is how
many operations there are, how fast each is called, and whether what it works on is still in the cache.
"""

from __future__ import annotations

import itertools
import math
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
    """The operations of a function of tensors, to be replayed one by one: the numbers that the function gives, norms to
    rounding, without the time that batching by ``vmap`` takes at every call, and without a compiler.

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
    _in_two_buffers(module.graph)
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


def _in_two_buffers(graph: torch.fx.Graph) -> None:
    """Let products of one shape take turns in two places, where no more than two of them are needed at a time. The C
    library seldom gives out again what it got back, since the memory of a tensor is aligned: layer after layer would
    run through memory that the cache does not know."""
    nodes = list(graph.nodes)
    place = {node: number for number, node in enumerate(nodes)}
    kinds: dict[tuple[torch.Size, torch.dtype], list[torch.fx.Node]] = {}
    for node in nodes:
        if node.target is torch.ops.aten.bmm.default:
            made = node.meta["tensor_meta"]
            kinds.setdefault((made.shape, made.dtype), []).append(node)
    turns: dict[Any, tuple[Any, int]] = {}
    for (shape, _), products in kinds.items():
        families = [_same_memory(product) for product in products]
        last = [max(place[user] for node in family for user in node.users) for family in families]
        until = [*(place[later] for later in products[2:]), place[nodes[-1]], place[nodes[-1]]]
        if len(products) < 2 or any(end >= taken for end, taken in zip(last, until, strict=True)):
            continue
        with graph.inserting_before(products[0]):
            both = graph.call_method("new_empty", (products[0].args[0], (2, *shape)))
            halves = [graph.call_method("select", (both, 0, half)) for half in range(2)]
        for number, (product, family) in enumerate(zip(products, families, strict=True)):
            product.update_kwarg("out", halves[number % 2])
            turns |= {node: (both, number) for node in family if node.target in _NEW}  # all of it, no view
    for stack in graph.find_nodes(op="call_function", target=torch.ops.aten.stack.default):
        _norms_of_two(graph, stack, turns)


def _norms_of_two(graph: torch.fx.Graph, stack: Any, turns: dict[Any, tuple[Any, int]]) -> None:
    """Let the norms of two neighbours in their two places be one product: of both halves of each row with themselves.
    In a norm every addition waits for the one before it. The same numbers to rounding."""
    parts = stack.args[0]
    pairs: dict[int, Any] = {}  # by the number of the first
    for number, (one, two) in enumerate(itertools.pairwise(parts)):
        (both, first), (other, second) = (turns.get(_normed(part), (None, 0)) for part in (one, two))
        if both is not None and both is other and first % 2 == 0 and second == first + 1:
            pairs[number] = both
    if len(set(pairs.values())) != 1:
        return
    both = pairs[min(pairs)]
    _, rows, *size = both.args[1]
    if math.prod(size) % 2:
        return
    sizes = {n: 2 * rows if n in pairs else rows for n in range(len(parts)) if n - 1 not in pairs}
    with graph.inserting_before(both.next):
        halves = graph.call_method("view", (both, (2 * rows, 2, -1)))
        turned = graph.call_method("transpose", (halves, 1, 2))
        squares = graph.call_method("new_empty", (both, (len(parts) * rows, 2, 2)))
        given = graph.call_method("split", (squares, list(sizes.values())))
    for place, number in enumerate(sizes):
        if number in pairs:  # as soon as the second is there: soon after, the first is written over
            with graph.inserting_before(_normed(parts[number + 1]).next):
                out = graph.call_function(operator.getitem, (given, place))
                graph.call_function(torch.bmm, (halves, turned), {"out": out})
    with graph.inserting_before(stack):
        diagonal = graph.call_method("diagonal", (squares, 0, 1, 2))
        roots = graph.call_method("sqrt_", (graph.call_method("sum", (diagonal, 1)),))
        roots = graph.call_method("view", (roots, (len(parts), rows)))
        for number in sizes.keys() - pairs.keys():
            graph.call_method("copy_", (graph.call_method("select", (roots, 0, number)), parts[number]))
        ordered = graph.call_method("movedim", (roots, 0, *(stack.args[1:] or (0,))))
        stack.replace_all_uses_with(graph.call_method("contiguous", (ordered,)))
    graph.erase_node(stack)
    for number in pairs:
        for part in parts[number : number + 2]:
            graph.erase_node(part)


def _normed(part: Any) -> Any:
    """What a part of a stack is the norm of, if it is the norm of each row and nothing else asks for it."""
    if part.target is not torch.ops.aten.linalg_vector_norm.default or len(part.users) > 1:
        return None
    given, *rest = part.args
    whole = [2, list(range(1, len(given.meta["tensor_meta"].shape)))]
    return given if rest == whole else None


def _same_memory(node: torch.fx.Node) -> list[torch.fx.Node]:
    """A result and all that may be its memory: what is written over it, and views."""
    found = [node]
    for one in found:
        found += [user for user in one.users if _shares(user)]
    return found


def _shares(node: torch.fx.Node) -> bool:
    """Whether a result may be the memory of what it was made of."""
    if node.target in _VIEWS | _SLICES:
        return True
    return hasattr(node.target, "_schema") and any(given.alias_info for given in node.target._schema.returns)


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
