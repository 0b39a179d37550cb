"""The compiler: `PASSES` lists every step from a graph to LLVM IR, in order, and is run here.

A pass takes the record of what is known of a program, a `Compilation`, and gives a new one with its
own part filled in. Each has a verifier, which runs behind it where `check` is set, and a printer:
what it prints is what the next pass works on, and in the end what runs.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from mynn.base import forks
from mynn.base.dataclass import dataclass
from mynn.compiler.codegen.dedupe import emit_kernels
from mynn.compiler.codegen.function import Module
from mynn.compiler.codegen.host import emit_functions
from mynn.compiler.codegen.ops import verify_exact
from mynn.compiler.compilation import Compilation
from mynn.compiler.fusion.fuse import fuse
from mynn.compiler.fusion.groups import format_fusion, verify_fusion
from mynn.compiler.graph.algebra import algebraic
from mynn.compiler.graph.branches import prune_branches
from mynn.compiler.graph.cse import cse
from mynn.compiler.graph.decompose import decompose
from mynn.compiler.graph.few_rows import find_few_rows
from mynn.compiler.graph.fold import fold
from mynn.compiler.graph.kept_values import read_kept_values
from mynn.compiler.graph.layout import Layouts, format_layouts, layouts_of
from mynn.compiler.graph.multiply_add import fuse_multiply_adds
from mynn.compiler.graph.pack_operands import insert_packing, is_copy, spread_rows
from mynn.compiler.graph.scans import join_scans
from mynn.compiler.graph.split_k import split_k
from mynn.compiler.graph.status import never_set, with_status
from mynn.compiler.graph.zero_padding import eliminated
from mynn.compiler.host.parallel_call import parallel_call
from mynn.compiler.host.step import split_step, step
from mynn.compiler.host.workers import barrier
from mynn.compiler.loop_ir.ir import Function, buffers_of
from mynn.compiler.loop_ir.repeat import innermost, nest_function, nests
from mynn.compiler.lowering.lower import lower_group
from mynn.compiler.memory.arena import arena
from mynn.compiler.memory.loop import Body
from mynn.compiler.memory.order import format_order, order_steps, verify_order
from mynn.compiler.memory.places import format_places, places_of
from mynn.compiler.memory.plan import format_plan, lower_steps, verify_plan
from mynn.compiler.memory.scratch import scratch_buffer
from mynn.compiler.parallel.barriers import (
    format_schedule,
    list_schedule,
)
from mynn.compiler.parallel.cache_blocks import CacheBlock, cache_blocks, format_blocks
from mynn.compiler.parallel.footprint import Footprints
from mynn.compiler.parallel.loops import share_kernels
from mynn.compiler.parallel.split import parallelise
from mynn.compiler.rules import rule_of
from mynn.compiler.rules.record import Loop
from mynn.core.graph import Graph, Node, format_graph, verify
from mynn.core.types import Shape
from mynn.target.target import Target

# So often at most passes that are repeated run.
_MOST_ROUNDS = 20


# -- what the passes fill in -----------------------------------------------------------------------


def _status(c: Compilation) -> Compilation:
    return replace(c, graph=with_status(c.graph), status=bool(c.graph.checks))


def _known_status(c: Compilation) -> Compilation:
    if not c.status or not never_set(c.graph):
        return c
    return replace(c, graph=Graph(c.graph.inputs, c.graph.outputs[:-1]), status=False)


def _pack_operands(c: Compilation) -> Compilation:
    return replace(c, graph=insert_packing(c.graph, layouts_of(c.lying, c.results)))


def _layout(c: Compilation) -> Compilation:
    nodes = c.graph.nodes()
    read = [x for node in nodes if isinstance(rule_of(node), Loop) for x in node.inputs]
    copies = filter(is_copy, nodes)
    given = {**spread_rows(c.graph), **c.lying}
    return replace(c, layouts=layouts_of(given, [*copies, *read, *c.results]))


def _zero_padding(c: Compilation) -> Compilation:
    state = frozenset(c.graph.outputs[number] for number in c.writes.values())
    return replace(c, pads=eliminated(c.graph, c.layouts, c.target, state))


def _fuse(c: Compilation) -> Compilation:
    return replace(c, fusion=fuse(c.graph, c.layouts, c.pads))


def _order(c: Compilation) -> Compilation:
    targets = {state: c.graph.outputs[number] for state, number in c.writes.items()}
    return replace(c, order=order_steps(c.fusion, targets, c.results, c.status))


def _places(c: Compilation) -> Compilation:
    results = [*zip(c.results, c.strides, c.rooms, strict=True)]
    places = places_of(c.graph, c.fusion, c.order, results, c.layouts, c.pads, c.apart)
    return replace(c, places=places)


def _lower(c: Compilation) -> Compilation:
    make = functools.partial(_body, target=c.target, check=c.check)
    plan = lower_steps(c.fusion, c.order, c.places, c.target, make, c.status)
    return replace(c, plan=plan, kernels=plan.kernels)


def _body(
    graph: Graph,
    writes: Mapping[Node, int],
    layouts: Mapping[Node, Shape],
    wanted: Mapping[int, Shape],
    apart: Mapping[Node | int, int],
    target: Target,
    check: bool,
) -> Body:
    """The kernels of one step of a loop: what the passes up to them make of its graph."""
    given = dict(writes), dict(layouts), dict(wanted), dict(apart)
    start = Compilation(graph, target, *given, check=check)
    plan = run(BODY, start, check).plan
    return Body(
        plan.kernels,
        [plan.places[node] for node in graph.inputs],
        [(value, plan.places[node]) for node, value in plan.constants.items()],
        [result.buffer for result in plan.results],
    )


def _scratch(c: Compilation) -> Compilation:
    return replace(c, plan=replace(c.plan, scratch=scratch_buffer(c.kernels)))


def _arena(c: Compilation) -> Compilation:
    offsets, size = arena(c.kernels, c.plan.lasting(c.graph.inputs))
    return replace(c, plan=replace(c.plan, arena=offsets, arena_bytes=size))


def _cache_blocks(c: Compilation) -> Compilation:
    blocks = cache_blocks(c.kernels, c.plan.location, c.plan.status)
    return replace(c, blocks=blocks, kernels=[k for block in blocks for k in block.kernels])


def _split(c: Compilation) -> Compilation:
    footprints = Footprints(c.plan.location)
    kernels = share_kernels(c.kernels, footprints)
    blocks = [CacheBlock(tuple(kernels))]
    return replace(c, kernels=kernels, blocks=blocks, footprints=footprints)


def _barriers(c: Compilation) -> Compilation:
    schedule = list_schedule(c.kernels, c.footprints, c.plan.status, c.state)
    return replace(c, schedule=schedule)


def _emit(c: Compilation) -> Compilation:
    module = Module(c.target)
    emit_kernels(module, innermost(c.kernels), c.slots, c.plan.scratch)
    return replace(c, module=emit_functions(module, _host_code(c)))


def _host_code(c: Compilation) -> list[Function]:
    """What runs the kernels: the step, and what workers share of it."""
    status = c.plan.status
    checking = {kernel.name for kernel in c.kernels if status in buffers_of(kernel)[1]}
    slot = None if status is None else c.slots[status]
    functions = [nest_function(nest, c.slots, c.plan.scratch) for nest in nests(c.kernels)]
    functions.append(step(c.blocks, checking, slot))
    if c.split:
        functions += [barrier(), split_step(c.schedule, slot), *parallel_call(c.target.is_posix)]
    return functions


# -- verifiers and printers ------------------------------------------------------------------------


def _verify_graph(c: Compilation) -> None:
    verify(c.graph)


def _show_graph(c: Compilation) -> str:
    return format_graph(c.graph)


def _verify_plan(c: Compilation) -> None:
    verify_plan(c.plan, c.graph, c.writes)
    _verify_kernels(c)


def _verify_kernels(c: Compilation) -> None:
    with forks.loading:
        from mynn.compiler.loop_ir.verify import verify_kernel

    for kernel in c.kernels:
        verify_kernel(kernel)


def _verify_emission(c: Compilation) -> None:
    with forks.loading:
        from mynn.compiler.loop_ir.verify import verify_functions

    verify_functions(_host_code(c), innermost(c.kernels))
    verify_exact(c.text)


def show_kernels(c: Compilation) -> str:
    """The kernels as they run: those of cache blocks and of workers in shares, with barriers."""
    if c.schedule:
        return format_schedule(c.schedule)
    return format_blocks(c.blocks or [CacheBlock(tuple(c.kernels))])


# -- the list --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Pass:
    """A step of the compiler.

    - `stage`: which part of the way it belongs to; `about`: what comes out.
    - `does`: what does it, in whose file more is said.
    - `run` gives the record that comes out; `verify` raises `VerifyError` where that is not what
      the pass guarantees, `show` prints it.
    - `when`: whether it is run at all.
    """

    name: str
    stage: str
    about: str
    does: Callable[..., object]
    run: Callable[[Compilation], Compilation]
    verify: Callable[[Compilation], None] = _verify_graph
    show: Callable[[Compilation], str] = _show_graph
    when: Callable[[Compilation], bool] = lambda c: True


@dataclass(frozen=True)
class Repeated:
    """Passes over the graph that run one after the other until none of them finds anything."""

    passes: tuple[Pass, ...]


def _rewrite(name: str, about: str, does: Callable[[Graph], Graph]) -> Pass:
    """A pass that sees the graph alone."""

    def run(c: Compilation) -> Compilation:
        graph = does(c.graph)
        return c if graph is c.graph else replace(c, graph=graph)

    return Pass(name, "rewrite", about, does, run)


def _local(name: str, about: str, does: Callable[[Graph, set[Node]], Graph]) -> Pass:
    """A pass that goes by each node and what it is computed from: what it has left once it leaves
    in the next round too.
    """

    def run(c: Compilation) -> Compilation:
        graph = does(c.graph, c.settled.setdefault(name, set()))
        return c if graph is c.graph else replace(c, graph=graph)

    return Pass(name, "rewrite", about, does, run)


def _shared(c: Compilation) -> bool:
    return c.split


# A pass that gives kernels.
_kernels = functools.partial(Pass, verify=_verify_kernels, show=show_kernels)

LOWERING: tuple[Pass | Repeated, ...] = (
    Pass(
        "status", "rewrite", "checks become a status word, a further output", with_status, _status
    ),
    # Composites are written out, then constants, since the other rules look for them.
    Repeated(
        (
            _rewrite("scans", "loops that do the same steps become one", join_scans),
            _rewrite(
                "branches", "branches that are known; what is wanted of others", prune_branches
            ),
            _local("decompose", "composites in terms of other primitives", decompose),
            _local("fold", "what depends on constants alone", fold),
            _local("algebra", "nodes that do nothing, or undo each other", algebraic),
            _rewrite("cse", "equal nodes become one", cse),
        )
    ),
    Pass(
        "known_status",
        "rewrite",
        "no status word where no check can fail",
        never_set,
        _known_status,
    ),
    _rewrite("kept_values", "gradients of rectifiers, by what dropout left", read_kept_values),
    replace(
        _rewrite("multiply_add", "which products are added unrounded", fuse_multiply_adds),
        when=lambda c: c.target.has_fma,
    ),
    _rewrite("few_rows", "sums of few of many rows without an array of all", find_few_rows),
    Pass(
        "pack_operands",
        "rewrite",
        "copies of operands that lie the wrong way for any vector",
        insert_packing,
        _pack_operands,
    ),
    _rewrite("split_k", "long sums in parts that threads can share", split_k),
    Pass(
        "layout",
        "fuse",
        "in which order the axes of a value lie in memory",
        Layouts,
        _layout,
        show=lambda c: format_layouts(c.graph, c.layouts),
    ),
    Pass(
        "zero_padding",
        "fuse",
        "zeros around operands that products leave out",
        eliminated,
        _zero_padding,
        show=lambda c: format_layouts(c.graph, c.layouts, c.pads),
    ),
    Pass(
        "fuse",
        "fuse",
        "nodes become groups, a group a kernel",
        fuse,
        _fuse,
        lambda c: verify_fusion(c.fusion, c.graph),
        lambda c: format_fusion(c.fusion, c.graph),
    ),
    Pass(
        "order",
        "plan",
        "the order of the groups, and which state is updated in place",
        order_steps,
        _order,
        lambda c: verify_order(c.order, c.fusion),
        lambda c: format_order(c.order, c.graph),
    ),
    Pass(
        "places",
        "plan",
        "a buffer for each stored value",
        places_of,
        _places,
        lambda c: verify_order(c.order, c.fusion),
        lambda c: format_places(c.places, c.graph),
    ),
    _kernels("lower", "lower", "groups become kernels of the loop IR", lower_group, _lower),
    Pass(
        "scratch",
        "plan",
        "memory that kernels make for themselves",
        scratch_buffer,
        _scratch,
        _verify_kernels,
        lambda c: f"scratch: {c.plan.scratch.elements if c.plan.scratch else 0} bytes a worker",
    ),
    Pass(
        "arena",
        "plan",
        "memory that values share which are not needed together",
        arena,
        _arena,
        _verify_plan,
        lambda c: format_plan(c.plan, c.table),
    ),
)
# What is done with the body of a loop.
BODY = LOWERING[: 1 + [getattr(entry, "name", "") for entry in LOWERING].index("lower")]
EMISSION: tuple[Pass | Repeated, ...] = (
    _kernels(
        "cache_blocks",
        "share",
        "for one thread: kernels that stream through memory run block by block",
        cache_blocks,
        _cache_blocks,
        when=lambda c: not c.split,
    ),
    _kernels(
        "split",
        "share",
        "for several workers: which loops they share",
        parallelise,
        _split,
        when=_shared,
    ),
    _kernels(
        "barriers",
        "share",
        "for several workers: the order of kernels, and where they wait for each other",
        list_schedule,
        _barriers,
        when=_shared,
    ),
    Pass(
        "emit",
        "emit",
        "LLVM IR: a function for each kernel, and one that runs them",
        emit_kernels,
        _emit,
        _verify_emission,
        lambda c: c.text,
    ),
)
PASSES = (*LOWERING, *EMISSION)

Observer = Callable[[Pass, Compilation], None]


def every_pass() -> list[Pass]:
    """The passes of the list, those that are repeated among them."""
    return [
        p for entry in PASSES for p in (entry.passes if isinstance(entry, Repeated) else [entry])
    ]


def run(
    passes: Sequence[Pass | Repeated],
    c: Compilation,
    check: bool = False,
    observe: Observer | None = None,
) -> Compilation:
    """What comes out of some passes; `check` runs their verifiers, `observe` is shown the record
    behind each pass, behind repeated ones in each round.
    """
    seconds = dict(c.seconds)
    for entry in passes:
        repeated = isinstance(entry, Repeated)
        for _ in range(_MOST_ROUNDS if repeated else 1):
            before = c
            for each in entry.passes if isinstance(entry, Repeated) else (entry,):
                if not each.when(c):
                    continue
                start = time.perf_counter()
                c = each.run(c)
                took = time.perf_counter() - start
                seconds[each.stage] = seconds.get(each.stage, 0.0) + took
                if check:
                    each.verify(c)
                if observe is not None:
                    observe(each, c)
            if c is before:
                break
    return replace(c, seconds=seconds)


def lower(
    graph: Graph,
    target: Target,
    writes: Mapping[Node, int] | None = None,
    layouts: Mapping[Node, Shape] | None = None,
    check: bool = False,
    observe: Observer | None = None,
    wanted: Mapping[int, Shape] | None = None,
) -> Compilation:
    """All passes up to the kernels, before it is known how many workers run them.

    - `target`: what code is made for.
    - `writes`: for each input that is state, the number of the output that is its new value.
    - `layouts`: strides in elements of inputs that are not row-major with a padded last axis.
    - `check`: run the verifiers between the passes.
    - `wanted`: strides in elements of outputs, by their numbers, that shall lie otherwise too.
    """
    if check:
        verify(graph)
    given = dict(writes or {}), dict(layouts or {}), dict(wanted or {})
    start = Compilation(graph, target, *given, check=check)
    return run(LOWERING, start, check, observe)


def finish(
    lowered: Compilation,
    split: bool = False,
    check: bool = False,
    observe: Observer | None = None,
) -> Compilation:
    """All passes from the kernels to LLVM IR: a function for each, and one that runs them in order.

    With `split` the outer loops are shared among workers, and `mynn_step_split` is what each of
    them runs.
    """
    return run(EMISSION, replace(lowered, split=split), check, observe)
