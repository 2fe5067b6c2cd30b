# SPDX-License-Identifier: Apache-2.0
"""A pass over inductor's graphs: an all-reduce, the residual's addition and a norm become one operator.

What is looked for, between the all-reduce and the norm's result, as the graph has it after autograd:

    total = residual + all_reduce(x)          one use of the all-reduce; total may have others
    RMS   total [to fp32], square, mean over the last dimension, + eps, rsqrt, times total,
          [to total's type], times weight                         LlamaRMSNorm; nn.RMSNorm in fp32
    layer total [to fp32], var_mean over the last dimension, total - mean, times rsqrt(variance + eps),
          times weight, [plus bias], [to total's type]            layer_norm as inductor takes it apart

Anything else in between, another user of a value in between, another type or shape: left alone. The
order of collectives in the graph is kept, since it is what ranks agree on.
"""

import errno
import operator
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch.fx import Graph, Node

from ._errors import Error

if TYPE_CHECKING:
    from torch._inductor.custom_graph_pass import CustomGraphPass

_COUNTER = "shmrt_all_reduce_norm"
_DTYPES = (torch.float32, torch.bfloat16, torch.float16)
_COLLECTIVE_NAMESPACES = ("deepspeed", "shmrt", "c10d", "c10d_functional", "_c10d_functional")
aten = torch.ops.aten
_TO = torch.ops.prims.convert_element_type.default
_ADDS = (aten.add.Tensor, aten.add.Scalar)


@dataclass
class Match:
    """Nodes of one pattern, in the graph's order, and what the operator needs of them."""

    reduced: Node
    total: Node
    residual: Node
    nodes: list[Node] = field(default_factory=list)
    weight: Node | None = None
    bias: Node | None = None
    eps: float = 0.0

    @property
    def out(self) -> Node:
        return self.nodes[-1]


def fuse_all_reduce_norm(enabled: bool = True) -> None:
    """Let torch.compile replace all-reduce, residual addition and RMS or layer norm by one operator.

    Off unless asked for; SHMRT_FUSE=1 asks for it when shmrt is imported. Call it before what is to
    be compiled runs for the first time, on all ranks alike, and in the thread that compiles: inductor's
    settings belong to a thread. ``stats()["fusions"]`` counts the replacements.
    """
    from torch._inductor import config
    from torch._inductor.custom_graph_pass import get_custom_graph_passes

    kept = [p for p in get_custom_graph_passes(config.post_grad_custom_post_pass) if not _is_ours(p)]
    if enabled:
        kept.append(_new_pass())
    config.post_grad_custom_post_pass = tuple(kept) or None


def fusions() -> int:
    """Replacements in this process so far, as inductor's own counters have them."""
    dynamo = sys.modules.get("torch._dynamo.utils")
    return dynamo.counters["inductor"][_COUNTER] if dynamo else 0


def fuse_if_environment_says() -> None:
    text = os.environ.get("SHMRT_FUSE", "0")
    if text not in ("0", "1", ""):
        raise Error(f"SHMRT_FUSE={text!r} is neither 0 nor 1", errno.EINVAL)
    if text == "1":
        fuse_all_reduce_norm()


def _new_pass() -> "CustomGraphPass":
    """The class is made here, so that inductor is imported only where it is used."""
    from torch._dynamo.utils import counters
    from torch._inductor.custom_graph_pass import CustomGraphPass, get_hash_for_files

    class FuseAllReduceNorm(CustomGraphPass):
        is_shmrt_fusion = True

        def __call__(self, graph: Graph) -> None:
            counters["inductor"][_COUNTER] += fuse(graph)

        def uuid(self) -> bytes:
            return get_hash_for_files((__file__,))

    return FuseAllReduceNorm()


def _is_ours(one: object) -> bool:
    return getattr(one, "is_shmrt_fusion", False)


def fuse(graph: Graph) -> int:
    """Replace what matches; the number of replacements."""
    count = 0
    for node in list(graph.nodes):
        match = find(node) if _is_sum(node) else None
        if match is not None and _fits(match, graph):
            replace(match, graph)
            count += 1
    return count


def find(reduced: Node) -> Match | None:
    """The pattern that begins with this all-reduce."""
    total = _only_user(reduced, (aten.add.Tensor,))
    residual = _other(total, reduced)
    if total is None or _value(total) is None or not isinstance(residual, Node):
        return None
    for continue_with in (_rms, _layer):
        match = Match(reduced, total, residual)
        if continue_with(match):
            return match
    return None


def _rms(match: Match) -> bool:
    for wide in _widened(match.total):
        for squares in wide.users:
            if squares.target is not aten.pow.Tensor_Scalar or squares.args != (wide, 2):
                continue
            mean = _only_user(squares, (aten.mean.dim,))
            scale, match.eps = _scale(mean, match)
            scaled = _only_user(scale, (aten.mul.Tensor,))
            narrow = _narrowed(scaled, match.total)
            out = _only_user(narrow, (aten.mul.Tensor,))
            match.weight = _node(_other(out, narrow))
            if scale is not None and _other(scaled, scale) is wide and _is_over_last_dimension(mean, 2):
                match.nodes = _in_order(wide, squares, mean, scale.args[0], scale, scaled, narrow, out)
                return _has_no_other_users(match, wide, {squares, scaled}) and out is not None
    return False


def _layer(match: Match) -> bool:
    for wide in _widened(match.total):
        for moments in wide.users:
            if moments.target is not aten.var_mean.correction or not _is_plain_variance(moments):
                continue
            variance, mean = (_item(moments, i) for i in (0, 1))
            deviation = _only_user(mean, (aten.sub.Tensor,))
            scale, match.eps = _scale(variance, match)
            scaled = _only_user(scale, (aten.mul.Tensor,))
            weighted = _only_user(scaled, (aten.mul.Tensor,))
            match.weight = _node(_other(weighted, scaled))
            biased = _only_user(weighted, (aten.add.Tensor,))
            match.bias = _node(_other(biased, weighted))
            if not _is_vector(match.bias, match.total):
                biased, match.bias = weighted, None
            out = _narrowed(biased, match.total)
            if out is None or scale is None or _other(scaled, scale) is not deviation:
                continue
            if _args(deviation) != (wide, mean):
                continue
            if _only_user(deviation, (aten.mul.Tensor,)) is scaled and len(moments.users) == 2:
                found = (wide, moments, variance, mean, deviation, scale.args[0], scale, scaled, weighted, biased, out)
                match.nodes = _in_order(*found)
                return _has_no_other_users(match, wide, {moments, deviation})
    return False


def _widened(total: Node) -> Iterator[Node]:
    """Where the norm's arithmetic begins: total itself, or its conversions to fp32."""
    if _dtype(total) == torch.float32:
        yield total
    else:
        yield from (user for user in total.users if user.target is _TO and user.args == (total, torch.float32))


def _narrowed(wide: Node | None, total: Node) -> Node | None:
    """The value in total's type: the same node for fp32."""
    if wide is None or _dtype(total) == torch.float32:
        return wide
    narrow = _only_user(wide, (_TO,))
    return narrow if narrow is not None and narrow.args == (wide, _dtype(total)) else None


def _scale(square: Node | None, match: Match) -> tuple[Node | None, float]:
    """rsqrt(square + eps), and eps."""
    shifted = _only_user(square, _ADDS)
    eps = _other(shifted, square)
    if not isinstance(eps, (int, float)) or not eps >= 0:
        return None, 0.0
    return _only_user(shifted, (aten.rsqrt.default,)), float(eps)


def _only_user(node: Node | None, targets: tuple[object, ...]) -> Node | None:
    if node is None or len(node.users) != 1:
        return None
    (user,) = node.users
    return user if user.target in targets else None


def _args(node: Node | None) -> tuple[object, ...]:
    """What a binary operator is applied to; nothing where it has further arguments, such as alpha."""
    return () if node is None or node.kwargs or len(node.args) != 2 else node.args


def _other(node: Node | None, one: Node | None) -> object:
    """The other operand of a sum or product of two."""
    others = [a for a in _args(node) if a is not one]
    return others[0] if len(others) == 1 else None


def _node(value: object) -> Node | None:
    return value if isinstance(value, Node) else None


def _item(pair: Node, index: int) -> Node | None:
    found = [u for u in pair.users if u.target is operator.getitem and u.args == (pair, index)]
    return found[0] if len(found) == 1 else None


def _argument(node: Node, index: int, name: str) -> Any:
    return node.args[index] if len(node.args) > index else node.kwargs.get(name)


def _is_over_last_dimension(node: Node | None, keepdim_index: int) -> bool:
    """A mean or variance over the last dimension only, which stays as one of length 1."""
    if node is None or node.kwargs.get("dtype") is not None:
        return False
    value = _value(node.args[0])
    if value is None:
        return False
    dims, last = _argument(node, 1, "dim"), value.dim() - 1
    return _argument(node, keepdim_index, "keepdim") is True and list(dims or ()) in ([last], [-1])


def _is_plain_variance(moments: Node) -> bool:
    return bool(moments.kwargs.get("correction") == 0) and _is_over_last_dimension(moments, len(moments.args))


def _in_order(*nodes: object) -> list[Node]:
    """Without repetitions: a value that needs no conversion stands twice in the pattern."""
    return list(dict.fromkeys(n for n in nodes if isinstance(n, Node)))


def _has_no_other_users(match: Match, wide: Node, users: set[Node | None]) -> bool:
    """Only total and the result may be used elsewhere. All else was found as somebody's only user."""
    return wide is match.total or set(wide.users) == users


def _value(node: object) -> torch.Tensor | None:
    value = node.meta.get("val") if isinstance(node, Node) else None
    return value if isinstance(value, torch.Tensor) else None


def _dtype(node: Node) -> torch.dtype | None:
    value = _value(node)
    return None if value is None else value.dtype


def _is_sum(node: Node) -> bool:
    ops = torch.ops
    if node.target in (ops.deepspeed.inference_all_reduce.default, ops.shmrt.inference_all_reduce.default):
        return True
    if node.target is not ops.shmrt.all_reduce.default or (_argument(node, 1, "op") or "sum") != "sum":
        return False
    # The operators with a norm know the default communicator only.
    return not _argument(node, 2, "group") and _argument(node, 3, "use_shm") is not False


def _is_vector(node: object, total: Node) -> bool:
    """As long as total's last dimension, and of its type."""
    vector, whole = _value(node), _value(total)
    return (
        vector is not None
        and whole is not None
        and vector.dim() == 1
        and vector.dtype == whole.dtype
        and vector.device == whole.device
        and _known_equal(vector.shape, whole.shape[-1:])
    )


def _known_equal(a: Sequence[object], b: Sequence[object]) -> bool:
    """Without a new guard where sizes are symbols."""
    from torch.fx.experimental.symbolic_shapes import statically_known_true, sym_eq

    return statically_known_true(sym_eq(tuple(a), tuple(b)))


def _fits(match: Match, graph: Graph) -> bool:
    """Types, shapes and strides are those of the operator, and nothing is needed before it is there."""
    from torch._prims_common import make_contiguous_strides_for

    whole = _value(match.total)
    if whole is None or whole.dtype not in _DTYPES or whole.device.type != "cpu" or whole.dim() == 0:
        return False
    for node in (match.reduced, match.residual, match.out):
        value = _value(node)
        if value is None or value.dtype != whole.dtype or not _known_equal(value.shape, whole.shape):
            return False
    strides = make_contiguous_strides_for(whole.shape)
    for node in (match.total, match.out):
        value = _value(node)
        if value is None or not _known_equal(value.stride(), strides):
            return False
    if not _is_vector(match.weight, match.total):
        return False
    order = {node: i for i, node in enumerate(graph.nodes)}
    needed = [n for n in (match.weight, match.bias) if n is not None]
    if any(order[n] > order[match.total] for n in needed):
        return False
    return not any(_is_collective(n) for n in _between(match.reduced, match.total))


def _between(first: Node, last: Node) -> Iterator[Node]:
    node = first.next
    while node is not last:
        yield node
        node = node.next


def _is_collective(node: Node) -> bool:
    return isinstance(node.target, torch._ops.OpOverload) and node.target.namespace in _COLLECTIVE_NAMESPACES


def replace(match: Match, graph: Graph) -> None:
    x, vectors = match.reduced.args[0], [match.weight]
    operation = torch.ops.shmrt.all_reduce_add_rms_norm.default
    if any(node.target is aten.var_mean.correction for node in match.nodes):
        vectors.append(match.bias)
        operation = torch.ops.shmrt.all_reduce_add_layer_norm.default
    with graph.inserting_before(match.total):
        fused = graph.call_function(operation, (x, match.residual, *vectors, match.eps))
        fused.meta["val"] = (_value(match.out), _value(match.total))
        for index, old in enumerate((match.out, match.total)):
            new = graph.call_function(operator.getitem, (fused, index))
            new.meta = dict(old.meta)
            old.replace_all_uses_with(new)
    for node in reversed([match.reduced, match.total, *(n for n in match.nodes if n is not match.total)]):
        graph.erase_node(node)
