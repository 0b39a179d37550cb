"""The training loop as native code: shuffle, batches, steps of a program, metrics.

The loop is one function, `void @mynn_fit(ptr %control)`, written here as LLVM IR text, on a control
block (`mynn.compiler.host.control_block`). It runs until the budget of steps is spent, the last
epoch is done, a loss is not finite, or a check of a step fails.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mynn.compiler.codegen.function import Module
from mynn.compiler.codegen.values import memory_type
from mynn.compiler.graph.status import STOPS
from mynn.compiler.host.argument_layout import ArgumentLayout, StepLayout
from mynn.compiler.host.control_block import Control, Sync
from mynn.compiler.host.workers import (
    FLUSH_BITS,
    WORKER,
    barrier_text,
    leader_text,
    next_phase,
    worker_text,
)
from mynn.target.storage import SLACK
from mynn.target.target import Target

FIT = "mynn_fit"
# Bytes of a batch from which on all workers gather; for fewer, meeting once more takes longer.
_SHARED_BYTES = 16384
# Bytes of a batch of one array from which on a step reads the rows where they lie, if it can.
_DIRECT_BYTES = 16384
_SHARE_PARAMETERS = "ptr %table, i64 %worker, i64 %workers, ptr %sync"


@dataclass(frozen=True)
class Loop:
    """What a loop is made for: the step on whole batches, and that on a smaller last one."""

    whole: StepLayout
    remainder: StepLayout | None = None

    @property
    def steps(self) -> tuple[StepLayout, ...]:
        """The steps on batches of different sizes."""
        return (self.whole,) if self.remainder is None else (self.whole, self.remainder)

    @property
    def has_workers(self) -> bool:
        """Whether threads wait for their share of steps."""
        return any(step.split for step in self.steps)

    def is_direct(self, argument: ArgumentLayout) -> bool:
        """Whether a whole batch lies in the data as it does in the buffer, and is worth leaving."""
        dense = argument.slot is not None and argument.dense
        return dense and self.whole.rows * argument.row_bytes >= _DIRECT_BYTES


def _shares_rows(step: StepLayout) -> bool:
    """Whether all workers gather the rows of a batch."""
    return step.split and step.nbytes >= _SHARED_BYTES


def shuffle_python(order: list[int], state: int) -> int:
    """The shuffle of the native loop, in Python; returns the new state.

    Fisher-Yates, driven by SplitMix64.

    Source: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014;
    indices by Lemire's multiplication, "Fast random integer generation in an interval", ACM TOMACS
    2019.
    """
    mask = 2**64 - 1
    for i in range(len(order) - 1, 0, -1):
        state = (state + 0x9E3779B97F4A7C15) & mask
        z = state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
        z ^= z >> 31
        j = ((z >> 32) * (i + 1)) >> 32
        order[i], order[j] = order[j], order[i]
    return state


_SHUFFLE = """
define internal void @mynn_shuffle(ptr %order, i64 %rows, ptr %random) nounwind {
entry:
  %many = icmp ugt i64 %rows, 1
  br i1 %many, label %start, label %done
start:
  %first = load i64, ptr %random
  %last = sub i64 %rows, 1
  br label %round
round:
  %i = phi i64 [ %last, %start ], [ %i.next, %round ]
  %s = phi i64 [ %first, %start ], [ %s.next, %round ]
  %s.next = add i64 %s, -7046029254386353131
  %a = lshr i64 %s.next, 30
  %b = xor i64 %s.next, %a
  %c = mul i64 %b, -4658895280553007687
  %d = lshr i64 %c, 27
  %e = xor i64 %c, %d
  %f = mul i64 %e, -7723592293110705685
  %g = lshr i64 %f, 31
  %z = xor i64 %f, %g
  %high = lshr i64 %z, 32
  %span = add i64 %i, 1
  %wide = mul i64 %high, %span
  %j = lshr i64 %wide, 32
  %pi = getelementptr i64, ptr %order, i64 %i
  %pj = getelementptr i64, ptr %order, i64 %j
  %vi = load i64, ptr %pi
  %vj = load i64, ptr %pj
  store i64 %vj, ptr %pi
  store i64 %vi, ptr %pj
  %i.next = sub i64 %i, 1
  %more = icmp ugt i64 %i.next, 0
  br i1 %more, label %round, label %finish
finish:
  store i64 %s.next, ptr %random
  br label %done
done:
  ret void
}
"""


class _Text:
    """Lines of LLVM IR with fresh names."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.count = 0

    def emit(self, text: str) -> str:
        self.count += 1
        name = f"%n{self.count}"
        self.lines.append(f"  {name} = {text}")
        return name

    def effect(self, text: str) -> None:
        self.lines.append(f"  {text}")

    def label(self, name: str) -> None:
        self.lines.append(f"{name}:")

    def word(self, word: int) -> str:
        """The address of a word of the control block."""
        return self.emit(f"getelementptr i64, ptr %control, i64 {int(word)}")

    def get(self, word: int, kind: str = "i64") -> str:
        """The value of a word of the control block."""
        return self.emit(f"load {kind}, ptr {self.word(word)}")

    def times(self, value: str, factor: int) -> str:
        """A product with a constant."""
        return self.emit(f"mul i64 {value}, {factor}")

    def set(self, word: int, value: str) -> None:
        """Change a word of the control block."""
        self.effect(f"store i64 {value}, ptr {self.word(word)}")


def _gather_text(loop: Loop, step: StepLayout) -> str:
    """The function that copies rows `low` to `high` of a batch into the input buffers of a step.

    Where the table names the data itself (`_point_at_rows`), nothing is copied.
    """
    t = _Text()
    head = "ptr %control, ptr %table, i64 %low, i64 %high"
    name = _name(loop, step, "gather")
    t.lines.append(f"define internal void @{name}({head}) alwaysinline nounwind {{")
    t.label("entry")
    sources = []
    for number, source in enumerate(step.arguments):
        if source.slot is not None:
            data = t.get(Control.DATA + number, "ptr")
            place = t.emit(f"getelementptr ptr, ptr %table, i64 {source.slot}")
            sources.append((source, data, t.emit(f"load ptr, ptr {place}")))
    first = t.emit(f"mul i64 {t.get(Control.BATCH)}, {loop.whole.rows}")
    order = t.get(Control.ORDER, "ptr")
    in_order = t.emit(f"icmp eq ptr {order}, null")
    t.effect("br label %row")
    t.label("row")
    place_of_phi = len(t.lines)
    t.lines.append("")
    more = t.emit("icmp ult i64 %row.now, %high")
    t.effect(f"br i1 {more}, label %choose, label %done")
    t.label("choose")
    at = t.emit(f"add i64 {first}, %row.now")
    t.effect(f"br i1 {in_order}, label %copy, label %pick")
    t.label("pick")
    picked = t.emit(f"load i64, ptr {t.emit(f'getelementptr i64, ptr {order}, i64 {at}')}")
    t.effect("br label %copy")
    t.label("copy")
    index = t.emit(f"phi i64 [ {at}, %choose ], [ {picked}, %pick ]")
    block = "copy"
    for number, (source, data, target) in enumerate(sources):
        if step is loop.whole and loop.is_direct(source):
            here = t.emit(f"getelementptr i8, ptr {data}, i64 {t.times(first, source.row_bytes)}")
            there = t.emit(f"icmp eq ptr {target}, {here}")
            block = f"sample.{number}"
            t.effect(f"br i1 {there}, label %next.{number}, label %{block}")
            t.label(block)
        start = t.emit(f"mul i64 {index}, {source.row_bytes}")
        end = t.emit(f"mul i64 %row.now, {source.blocks * source.pitch}")
        a = t.emit(f"getelementptr i8, ptr {data}, i64 {start}")
        b = t.emit(f"getelementptr i8, ptr {target}, i64 {end}")
        block = _copy_pieces(t, source, b, a, block, str(number))
        if step is loop.whole and loop.is_direct(source):
            block = f"next.{number}"
            t.effect(f"br label %{block}")
            t.label(block)
    t.lines[place_of_phi] = f"  %row.now = phi i64 [ %low, %entry ], [ %row.next, %{block} ]"
    t.lines.append("  %row.next = add i64 %row.now, 1")
    t.effect("br label %row")
    t.label("done")
    t.effect("ret void")
    t.lines.append("}")
    return "\n".join([*t.lines, ""])


def _direct_slots(t: _Text, loop: Loop) -> dict[int, tuple[str, str]]:
    """For each array that a step may read where it lies: its place in the table, and the buffer
    that stands there.
    """
    found = {}
    for number, source in enumerate(loop.whole.arguments):
        if loop.is_direct(source):
            table = t.get(Control.TABLE, "ptr")
            place = t.emit(f"getelementptr ptr, ptr {table}, i64 {source.slot}")
            found[number] = place, t.emit(f"load ptr, ptr {place}")
    return found


def _point_at_rows(t: _Text, loop: Loop, batch: str, slots: Mapping[int, tuple[str, str]]) -> None:
    """Have the table name the rows of a batch in the data, or else the buffer they are copied to.

    Rows must be in order, and so many must follow that what a kernel may read after the last
    element is data too.
    """
    in_order = t.emit(f"icmp eq ptr {t.get(Control.ORDER, 'ptr')}, null")
    for number, (place, buffer) in slots.items():
        size, rows = loop.whole.arguments[number].row_bytes, loop.whole.rows
        further = rows + -(-SLACK // size)
        end = t.emit(f"add i64 {t.times(batch, rows)}, {further}")
        inside = t.emit(f"icmp ule i64 {end}, {t.get(Control.ROWS)}")
        direct = t.emit(f"and i1 {in_order}, {inside}")
        data = t.get(Control.DATA + number, "ptr")
        here = t.emit(f"getelementptr i8, ptr {data}, i64 {t.times(batch, rows * size)}")
        t.effect(
            f"store ptr {t.emit(f'select i1 {direct}, ptr {here}, ptr {buffer}')}, ptr {place}"
        )


def _name(loop: Loop, step: StepLayout, what: str) -> str:
    """The name of a function that belongs to a step."""
    return f"mynn_{what}" if step is loop.whole else f"mynn_{what}_remainder"


def _share_text(loop: Loop, step: StepLayout) -> str:
    """The function that every worker runs where rows are shared too: gather, meet, step."""
    word = int(Control.STEP if step is loop.whole else Control.STEP_REMAINDER)
    name, gather = _name(loop, step, "share"), _name(loop, step, "gather")
    return f"""define internal void @{name}({_SHARE_PARAMETERS}) nounwind {{
  %control.at = getelementptr i64, ptr %sync, i64 {int(Sync.CONTROL)}
  %control = load ptr, ptr %control.at
  %low.all = mul i64 %worker, {step.rows}
  %low = udiv i64 %low.all, %workers
  %high.all = add i64 %low.all, {step.rows}
  %high = udiv i64 %high.all, %workers
  call void @{gather}(ptr %control, ptr %table, i64 %low, i64 %high)
  call void @mynn_barrier(ptr %sync, i64 %workers, i64 0)
  %step.at = getelementptr i64, ptr %control, i64 {word}
  %step = load ptr, ptr %step.at
  call void %step(ptr %table, i64 %worker, i64 %workers, ptr %sync)
  ret void
}}
"""


def _copy_pieces(
    t: _Text,
    source: ArgumentLayout,
    to: str,
    origin: str,
    block: str,
    tag: str,
    out_rows: int = 0,
) -> str:
    """Copy the pieces of a sample into the buffer, or of `out_rows` samples out of it; returns the
    label of the block that it ends in.
    """
    out = out_rows > 0
    pieces, size = (out_rows or 1) * source.blocks, source.block_bytes
    if source.dense:
        pieces, size = 1, size * pieces
    to_step, origin_step = (size, source.pitch) if out else (source.pitch, size)

    def copy(target: str, start: str) -> None:
        t.effect(
            f"call void @llvm.memcpy.p0.p0.i64(ptr {target}, ptr {start}, i64 {size}, i1 false)"
        )

    if pieces <= 8:
        for number in range(pieces):
            b = t.emit(f"getelementptr i8, ptr {to}, i64 {number * to_step}")
            copy(b, t.emit(f"getelementptr i8, ptr {origin}, i64 {number * origin_step}"))
        return block
    label, piece = f"pieces.{tag}", f"%piece.{tag}"
    t.effect(f"br label %{label}")
    t.label(label)
    t.lines.append(f"  {piece} = phi i64 [ 0, %{block} ], [ {piece}.next, %{label} ]")
    b = t.emit(f"getelementptr i8, ptr {to}, i64 {t.emit(f'mul i64 {piece}, {to_step}')}")
    start = t.emit(f"mul i64 {piece}, {origin_step}")
    copy(b, t.emit(f"getelementptr i8, ptr {origin}, i64 {start}"))
    t.lines.append(f"  {piece}.next = add i64 {piece}, 1")
    more = t.emit(f"icmp ult i64 {piece}.next, {pieces}")
    t.effect(f"br i1 {more}, label %{label}, label %{label}.end")
    t.label(f"{label}.end")
    return f"{label}.end"


def _keep_results(t: _Text, loop: Loop, step: StepLayout, table: str, block: str) -> None:
    """Copy the results of a batch to the rows of its samples."""
    for number, output in enumerate(step.outputs):
        if output.slot is None:
            continue
        place = t.emit(f"getelementptr ptr, ptr {table}, i64 {output.slot}")
        origin = t.emit(f"load ptr, ptr {place}")
        kept = t.get(Control.DATA + len(step.arguments) + number, "ptr")
        first = t.times(t.get(Control.BATCH), loop.whole.rows * output.row_bytes)
        target = t.emit(f"getelementptr i8, ptr {kept}, i64 {first}")
        tag = f"{_tag(loop, step)}.{number}"
        block = _copy_pieces(t, output, target, origin, block, tag, step.rows)


def _measure(t: _Text, step: StepLayout, table: str, epoch: str) -> str:
    """Add the results of the step to the sums of the epoch; returns the loss as a double."""
    sums = t.get(Control.METRICS, "ptr")
    base = t.emit(f"mul i64 {epoch}, {len(step.metrics)}")
    loss = "0.0"
    for number, metric in enumerate(step.metrics):
        type = memory_type(metric.type)
        place = t.emit(f"getelementptr ptr, ptr {table}, i64 {metric.slot}")
        value = t.emit(f"load {type}, ptr {t.emit(f'load ptr, ptr {place}')}")
        if type == "float":
            value = t.emit(f"fpext float {value} to double")
        elif type != "double":
            convert = "sitofp" if metric.type[0] == "i" else "uitofp"
            value = t.emit(f"{convert} {type} {value} to double")
        if number == 0:
            loss = value
        weighted = t.emit(f"fmul double {value}, {float(step.rows):.1f}")
        at = t.emit(f"add i64 {base}, {number}")
        place = t.emit(f"getelementptr double, ptr {sums}, i64 {at}")
        old = t.emit(f"load double, ptr {place}")
        t.effect(f"store double {t.emit(f'fadd double {old}, {weighted}')}, ptr {place}")
    return loss


def _acquire(t: _Text) -> None:
    """Take the workers that are there; %workers is their number from here on."""
    asked = f"i64 {t.get(Control.WORKERS)}, i64 {t.get(Control.PATIENCE)}"
    sync = t.get(Control.SYNC, "ptr")
    t.lines.append(f"  %workers = call i64 @mynn_acquire(ptr {sync}, {asked})")
    t.set(Control.ACQUIRED, "%workers")


def _release(t: _Text) -> None:
    """Let them go."""
    t.effect(f"call void @mynn_release(ptr {t.get(Control.SYNC, 'ptr')}, i64 %workers)")


def _split_step(t: _Text, table: str, step: str) -> None:
    """Tell the workers which step it is, wake them, and run a share of it."""
    sync = t.get(Control.SYNC, "ptr")

    def word(place: Sync) -> str:
        return t.emit(f"getelementptr i64, ptr {sync}, i64 {int(place)}")

    t.effect(f"store ptr {table}, ptr {word(Sync.TABLE)}")
    t.effect(f"store ptr {step}, ptr {word(Sync.STEP)}")
    phase = word(Sync.PHASE)
    new = t.emit(f"load i64, ptr {phase}")
    for operation in next_phase("%workers"):
        new = t.emit(operation.format(new))
    t.effect(f"store atomic i64 {new}, ptr {phase} release, align 8")
    t.effect(f"call void {step}(ptr {table}, i64 0, i64 %workers, ptr {sync})")


def _tag(loop: Loop, step: StepLayout) -> str:
    return "full" if step is loop.whole else "remainder"


def _one_step(
    t: _Text, loop: Loop, layout: StepLayout, slots: Mapping[int, tuple[str, str]]
) -> None:
    """Gather, run the step, keep, measure, count; go on, or `stop` at a loss that is not finite."""
    tag, whole = _tag(loop, layout), layout is loop.whole
    t.label(tag)
    batch = t.get(Control.BATCH)
    table = t.get(Control.TABLE if whole else Control.TABLE_REMAINDER, "ptr")
    if slots and whole:
        _point_at_rows(t, loop, batch, slots)
    if _shares_rows(layout):
        _split_step(t, table, f"@{_name(loop, layout, 'share')}")
    else:
        gather = _name(loop, layout, "gather")
        t.effect(f"call void @{gather}(ptr %control, ptr {table}, i64 0, i64 {layout.rows})")
        step = t.get(Control.STEP if whole else Control.STEP_REMAINDER, "ptr")
        if layout.split:
            _split_step(t, table, step)
        else:
            t.effect(f"call void {step}(ptr {table})")
    status = _check_status(t, layout, table, tag)
    _keep_results(t, loop, layout, table, tag if status is None else f"{tag}.fine")
    epoch = t.get(Control.EPOCH)
    loss = _measure(t, layout, table, epoch)
    t.set(Control.BATCH, t.emit(f"add i64 {batch}, 1"))
    t.set(Control.STEPS, t.emit(f"add i64 {t.get(Control.STEPS)}, 1"))
    t.set(Control.BUDGET, t.emit(f"sub i64 {t.get(Control.BUDGET)}, 1"))
    size = t.emit(f"call double @llvm.fabs.f64(double {loss})")
    bad = t.emit(f"fcmp uge double {size}, 0x7FF0000000000000")
    checked = t.emit(f"icmp ne i64 {t.get(Control.CHECK)}, 0")
    stop = t.emit(f"and i1 {bad}, {checked}")
    if status is not None:
        t.set(Control.STOPPED, t.emit(f"zext i1 {stop} to i64"))
        t.set(Control.STATUS, status)
        warned = t.emit(f"icmp ne i64 {status}, 0")
        stop = t.emit(f"or i1 {stop}, {warned}")
        t.effect(f"br i1 {stop}, label %exit, label %head")
        return
    t.effect(f"br i1 {stop}, label %stop, label %head")


def _check_status(t: _Text, step: StepLayout, table: str, tag: str) -> str | None:
    """Leave the loop where a check has stopped the step. Returns the bits of checks that warn."""
    if step.status is None:
        return None
    place = t.emit(f"getelementptr ptr, ptr {table}, i64 {step.status}")
    word = t.emit(f"load i32, ptr {t.emit(f'load ptr, ptr {place}')}")
    seen = t.emit(f"xor i64 {t.get(Control.MUTED)}, -1")
    status = t.emit(f"and i64 {t.emit(f'zext i32 {word} to i64')}, {seen}")
    stops = t.emit(f"icmp ne i64 {t.emit(f'and i64 {status}, {STOPS}')}, 0")
    t.effect(f"br i1 {stops}, label %{tag}.stops, label %{tag}.fine")
    t.label(f"{tag}.stops")
    t.set(Control.STATUS, status)
    t.effect("br label %exit")
    t.label(f"{tag}.fine")
    return status


def _flush_denormals(t: _Text) -> str:
    """Turn flushing on; returns where the old mode is kept."""
    kept, mode = t.emit("alloca i32"), t.emit("alloca i32")
    t.effect(f"call void @llvm.x86.sse.stmxcsr(ptr {kept})")
    flushed = t.emit(f"or i32 {t.emit(f'load i32, ptr {kept}')}, {FLUSH_BITS}")
    t.effect(f"store i32 {flushed}, ptr {mode}")
    t.effect(f"call void @llvm.x86.sse.ldmxcsr(ptr {mode})")
    return kept


def loop_text(loop: Loop, target: Target) -> str:
    """LLVM IR of the training loop; on x86 it flushes denormals while it runs."""
    t = _Text()
    t.lines.append(f"define void @{FIT}(ptr %control) nounwind {{")
    t.label("entry")
    kept = _flush_denormals(t) if target.is_x86 else ""
    if loop.has_workers:
        _acquire(t)
    slots = _direct_slots(t, loop)
    whole = t.get(Control.WHOLE)
    last = t.emit(f"add i64 {whole}, {len(loop.steps) - 1}")
    t.effect("br label %head")
    t.label("head")
    spent = t.emit(f"icmp sle i64 {t.get(Control.BUDGET)}, 0")
    t.effect(f"br i1 {spent}, label %exit, label %epochs")
    t.label("epochs")
    over = t.emit(f"icmp uge i64 {t.get(Control.BATCH)}, {last}")
    t.effect(f"br i1 {over}, label %epoch.end, label %begin")
    t.label("epoch.end")
    _close_epoch(t, "begin")
    t.label("begin")
    finished = t.emit(f"icmp uge i64 {t.get(Control.EPOCH)}, {t.get(Control.EPOCHS)}")
    t.effect(f"br i1 {finished}, label %exit, label %order")
    t.label("order")
    now = t.get(Control.BATCH)
    fresh = t.emit(f"icmp eq i64 {now}, 0")
    wanted = t.emit(f"icmp ne i64 {t.get(Control.SHUFFLE)}, 0")
    t.effect(f"br i1 {t.emit(f'and i1 {fresh}, {wanted}')}, label %shuffle, label %choose")
    t.label("shuffle")
    order, rows, random = t.get(Control.ORDER, "ptr"), t.get(Control.ROWS), t.word(Control.RANDOM)
    t.effect(f"call void @mynn_shuffle(ptr {order}, i64 {rows}, ptr {random})")
    t.effect("br label %choose")
    t.label("choose")
    is_last = t.emit(f"icmp uge i64 {now}, {whole}")
    other = "exit" if loop.remainder is None else "remainder"
    t.effect(f"br i1 {is_last}, label %{other}, label %full")
    for step in loop.steps:
        _one_step(t, loop, step, slots)
    t.label("stop")
    t.set(Control.STOPPED, "1")
    t.effect("br label %exit")
    t.label("exit")
    complete = t.emit(f"icmp uge i64 {t.get(Control.BATCH)}, {last}")
    t.effect(f"br i1 {complete}, label %close, label %return")
    t.label("close")
    _close_epoch(t, "return")
    t.label("return")
    for place, buffer in slots.values():
        t.effect(f"store ptr {buffer}, ptr {place}")
    if loop.has_workers:
        _release(t)
    if target.is_x86:
        t.effect(f"call void @llvm.x86.sse.ldmxcsr(ptr {kept})")
    t.effect("ret void")
    t.lines.append("}")
    declarations = (
        "declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)\n"
        "declare double @llvm.fabs.f64(double)"
    )
    if target.is_x86:
        declarations += (
            "\ndeclare void @llvm.x86.sse.stmxcsr(ptr)\ndeclare void @llvm.x86.sse.ldmxcsr(ptr)"
        )
    return "\n".join([declarations, _SHUFFLE, *t.lines, ""])


def loop_module(loop: Loop, target: Target) -> str:
    """The text of the whole module: the loop, and what its workers run."""
    module = Module(target)
    if loop.has_workers:
        module.add(leader_text(module))
        module.add(worker_text(module, WORKER, loop=True))
    if any(map(_shares_rows, loop.steps)):
        module.add(barrier_text(target))
    for step in loop.steps:
        module.add(_gather_text(loop, step))
        if _shares_rows(step):
            module.add(_share_text(loop, step))
    module.add(loop_text(loop, target))
    return module.text()


def _close_epoch(t: _Text, following: str) -> None:
    t.set(Control.BATCH, "0")
    t.set(Control.EPOCH, t.emit(f"add i64 {t.get(Control.EPOCH)}, 1"))
    t.effect(f"br label %{following}")
