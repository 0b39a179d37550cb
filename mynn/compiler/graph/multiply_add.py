"""Multiply-adds: which products are added to something without being rounded first.

One instruction computes x * y + z with a single rounding, in the time of either operation. It
rounds differently from a product and a sum, so the choice must not be left to whoever writes a
kernel or an instruction: a value that two kernels compute would then have two values, and one that
is compared with itself (the largest of a window with the window's elements) would not be found.

`fuse_multiply_adds` decides once for each node, from the graph alone, before there are kernels:

- A product is left unrounded only if nothing else reads it: it is no output, and its one reader is
  an addition or a subtraction, or all its readers are sums. What two nodes see is one number.
- In `x * y - u * v` both products are rounded, so that the difference of equal ones is 0.

Everything behind this pass computes a node by the same operations wherever it does so; no
instruction carries a flag that lets LLVM choose (`mynn.compiler.codegen.ops`).
"""

from __future__ import annotations

from mynn.compiler.graph.index_map import is_placing
from mynn.core.graph import Graph, Node, apply
from mynn.core.rewrite import rebuild
from mynn.ops import elementwise, fused, reduce


def fuse_multiply_adds(graph: Graph) -> Graph:
    """Write multiply-adds as such; for machines that have the instruction.

    Before:
        %0: f32[3] = mul(%x, %y)
        %1: f32[3] = add(%0, %z)
        %2: f32[3] = mul(%1, %1)
        %3: f32[] = sum(%2) axes=(0,)
    After:
        %0: f32[3] = fma(%x, %y, %z) form=xy+z
        %1: f32[3] = mul_unrounded(%0, %0)
        %2: f32[] = sum(%1) axes=(0,)
    """
    readers = _readers(graph)

    def rule(node: Node, new: Node) -> Node | None:
        if node.primitive is elementwise.mul and node.dtype.kind == "f":
            if _only_summed(node, readers):
                return apply(fused.mul_unrounded, *new.inputs, source=node.source)
        elif node.primitive in (elementwise.add, elementwise.sub):
            place = _free_product(node, readers)
            if place is not None:
                return _multiply_add(new, place)
        return None

    return rebuild(graph, rule)


def _readers(graph: Graph) -> dict[Node, list[Node | None]]:
    """What reads each node: nodes, once for each time, and None for the caller of the program."""
    readers: dict[Node, list[Node | None]] = {node: [] for node in graph.nodes()}
    for node in graph.nodes():
        for x in node.inputs:
            readers[x].append(node)
    for node in graph.outputs:
        readers[node].append(None)
    return readers


def _only_summed(node: Node, readers: dict[Node, list[Node | None]]) -> bool:
    """Whether sums are all that sees a node, maybe through movement."""
    for reader in readers[node]:
        if reader is None:
            return False
        if reader.primitive is reduce.sum:
            continue
        if not is_placing(reader) or not _only_summed(reader, readers):
            return False
    return True


def _free_product(node: Node, readers: dict[Node, list[Node | None]]) -> int | None:
    """Which input of an addition or subtraction is a product that nothing else sees, if any is."""
    if node.dtype.kind != "f":
        return None
    products = [_is_product(x) for x in node.inputs]
    if all(products) and node.primitive is elementwise.sub:
        return None
    for place in (1, 0):
        x = node.inputs[place]
        if x.primitive is elementwise.mul and readers[x] == [node]:
            return place
    return None


def _is_product(node: Node) -> bool:
    while is_placing(node):
        node = node.inputs[0]
    return node.primitive is elementwise.mul


def _multiply_add(node: Node, place: int) -> Node:
    product, addend = node.inputs[place], node.inputs[1 - place]
    form = "xy+z"
    if node.primitive is elementwise.sub:
        form = "z-xy" if place == 1 else "xy-z"
    return apply(fused.fma, *product.inputs, addend, form=form, source=node.source)
