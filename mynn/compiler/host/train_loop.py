"""The training loop: shuffle, batches, steps of a program, metrics.

The loop is one function, `mynn_fit`, on a control block (`mynn.compiler.host.control_block`). It
runs until the budget of steps is spent, the last epoch is done, a loss is not finite, or a check of
a step fails:

    while less(0, words[3]):                   steps are left
      (close the epoch that is complete)
      if less_equal(words[1], words[0]):       all epochs are
        break
      let batch = words[2]
      (shuffle, before the first batch)
      if less(batch, whole):
        (gather, step, check, keep, measure, count; break where something is wrong)
      else:
        (the same on the rows that are left)

Where numbers are watched (`Watch`), they are compared where an epoch is closed, and no step is left
for now where Python has to look.

Where a run is validated, the loop on the data that is held back has a control block too, and is
called where an epoch is closed: it runs one epoch, with the number of that which is complete.
"""

from __future__ import annotations

from dataclasses import field

from mynn.base.dataclass import dataclass
from mynn.compiler.graph.status import STOPS
from mynn.compiler.host import gather
from mynn.compiler.host.argument_layout import ArgumentLayout, StepLayout
from mynn.compiler.host.control_block import Control, Sync, Watch
from mynn.compiler.host.gather import Lines, indented
from mynn.compiler.host.shuffle import SHUFFLE, shuffle
from mynn.compiler.host.state import copy_state, is_finite
from mynn.compiler.host.step import BARRIER
from mynn.compiler.host.workers import WORKER_MAIN, barrier, leader, worker_main
from mynn.compiler.loop_ir.ir import Function
from mynn.compiler.loop_ir.parse import parse_function

FIT, _WATCH = "mynn_fit", "mynn_watch"
# Bytes of a batch from which on all workers gather; for fewer, one more barrier takes longer.
_SHARED_BYTES = 16384

_SYNC = f"addresses[{Control.SYNC}]"


@dataclass(frozen=True)
class Loop:
    """What a loop is made for: the step on whole batches, and that on a smaller last one; whether
    another loop runs after each epoch, and whether numbers of the epoch are watched.
    """

    whole: StepLayout
    remainder: StepLayout | None = None
    validates: bool = field(default=False, kw_only=True)
    watches: bool = field(default=False, kw_only=True)

    @property
    def steps(self) -> tuple[StepLayout, ...]:
        """The steps on batches of different sizes."""
        return (self.whole,) if self.remainder is None else (self.whole, self.remainder)

    @property
    def has_workers(self) -> bool:
        """Whether threads wait for their share of steps."""
        return any(step.split for step in self.steps)

    @property
    def direct(self) -> dict[int, ArgumentLayout]:
        """The arguments that whole batches may be read from where they lie in the data."""
        return gather.direct_arguments(self.whole)

    @property
    def lent(self) -> dict[int, ArgumentLayout]:
        """The arguments of whole batches that the table may name other memory for than its own."""
        count, further = len(self.whole.arguments), self.whole.further
        placed = {count + n: one for n, one in enumerate(further) if one.slot is not None}
        return self.direct | placed


def training_loop(loop: Loop, sleeps: bool) -> list[Function]:
    """The loop, and what its workers run; `sleeps`: the system has a function that does."""
    functions = [shuffle(), copy_state(), is_finite()]
    if loop.has_workers:
        functions += [*leader(), *worker_main(WORKER_MAIN, loop=True, sleeps=sleeps)]
    if any(map(_shares_rows, loop.steps)):
        functions.append(barrier())
    if loop.watches:
        functions.append(_watch())
    for step in loop.steps:
        direct = loop.direct if step is loop.whole else {}
        name = _name(loop, step, "gather")
        text = gather.gather_text(name, step, loop.whole.rows, direct)
        functions.append(parse_function(text))
        if _shares_rows(step):
            functions.append(_share(loop, step))
    return [*functions, parse_function("\n".join(_fit(loop)))]


def _shares_rows(step: StepLayout) -> bool:
    """Whether all workers gather the rows of a batch."""
    return step.split and step.nbytes >= _SHARED_BYTES


def _name(loop: Loop, step: StepLayout, what: str) -> str:
    """The name of a function that belongs to a step."""
    return f"mynn_{what}" if step is loop.whole else f"mynn_{what}_remainder"


def _step_word(loop: Loop, step: StepLayout) -> Control:
    return Control.STEP if step is loop.whole else Control.STEP_REMAINDER


def _share(loop: Loop, step: StepLayout) -> Function:
    """What every worker runs where rows are shared too: gather, meet, step."""
    return parse_function(f"""
        function {_name(loop, step, "share")}(table: ptr, worker: i64, workers: i64, sync: ptr):
          view addresses: ptr[] at sync
          let control = addresses[{Sync.CONTROL}]
          let shares = maximum(workers, 1)
          let low = quotient(maximum({step.filled}*worker, 0), shares)
          let high = quotient(maximum({step.filled}*worker + {step.filled}, 0), shares)
          call {_name(loop, step, "gather")}(control, table, low, high)
          call {BARRIER}(sync, workers, 0)
          view of_loop: ptr[] at control
          call (of_loop[{_step_word(loop, step)}])(table, worker, workers, sync)
        """)


def _fit(loop: Loop) -> Lines:
    """`mynn_fit`, line by line."""
    acquire, release = [], []
    if loop.has_workers:
        asked = f"words[{Control.WORKERS}], words[{Control.PATIENCE}]"
        acquire = [
            f"let workers: i64 = call mynn_acquire({_SYNC}, {asked})",
            f"words[{Control.ACQUIRED}] = workers",
        ]
        release = [f"call mynn_release({_SYNC}, workers)"]
    return [
        f"function {FIT}(control: ptr) exported:",
        "  let mode: u32 = call flush_denormals()",
        "  view words: i64[] at control",
        "  view addresses: ptr[] at control",
        *indented([*acquire, *gather.remember_buffers(loop.lent)]),
        f"  let whole = words[{Control.WHOLE}]",
        f"  let batches = whole + {len(loop.steps) - 1}",
        f"  while less(0, words[{Control.BUDGET}]):",
        *indented(indented(_round(loop))),
        *indented([*_close_epoch(loop), *gather.restore_buffers(loop.lent), *release]),
        "  call set_float_mode(mode)",
    ]


def _close_epoch(loop: Loop) -> Lines:
    """Counts an epoch that is complete, and validates it."""
    return [
        f"if less_equal(batches, words[{Control.BATCH}]):",
        f"  words[{Control.BATCH}] = 0",
        *indented(_validate() if loop.validates else []),
        *([f"  call {_WATCH}(control)"] if loop.watches else []),
        f"  words[{Control.EPOCH}] = add(words[{Control.EPOCH}], 1)",
    ]


def _watch() -> Function:
    """Compares the numbers that are watched; where Python has to look there are no steps left."""

    def word(of: Watch) -> str:
        return f"known[{Watch.COUNT}*watched + {of}]"

    def number(of: Watch) -> str:
        return f"reals[{Watch.COUNT}*watched + {of}]"

    look = f"words[{Control.LOOK}] = 1"
    epoch = f"words[{Control.EPOCH}]"
    place = f"add(mul({word(Watch.WIDTH)}, {epoch}), {word(Watch.COLUMN)})"
    lines = [
        "view words: i64[] at control",
        "view addresses: ptr[] at control",
        f"view known: i64[] at addresses[{Control.WATCHES}]",
        f"view reals: f64[] at addresses[{Control.WATCHES}]",
        f"view totals: ptr[] at addresses[{Control.WATCHES}]",
        "var watched = 0",
        f"while less(watched, words[{Control.WATCHED}]):",
        *indented(
            [
                f"let place = mul({place}, 8)",
                f"view total: f64[] at offset(totals[{Watch.COUNT}*watched], place)",
                f"let mean = div(total[0], {number(Watch.SAMPLES)})",
                f"let value = mul(mean, {number(Watch.SIGN)})",
                f"if less_equal({word(Watch.START)}, {epoch}):",
                f"  if not_equal({word(Watch.FINITE)}, 0):",
                "    if logical_not(less(abs(value), inf)):",
                f"      {look}",
                "  else:",
                f"    if less(value, sub({number(Watch.BEST)}, {number(Watch.DELTA)})):",
                f"      {number(Watch.BEST)} = value",
                f"      {word(Watch.WAIT)} = 0",
                f"      if not_equal({word(Watch.LOOKS)}, 0):",
                f"        {look}",
                "    else:",
                f"      {word(Watch.WAIT)} = add({word(Watch.WAIT)}, 1)",
                f"      if less_equal({word(Watch.PATIENCE)}, {word(Watch.WAIT)}):",
                f"        {look}",
                "watched = watched + 1",
            ]
        ),
        f"if not_equal(words[{Control.LOOK}], 0):",
        f"  words[{Control.BUDGET}] = 0",
    ]
    head = f"function {_WATCH}(control: ptr) noinline:"
    return parse_function("\n".join([head, *indented(lines)]))


def _validate() -> Lines:
    """Runs the other loop; where a check has stopped it there are no steps left for now."""
    return [
        f"view held: i64[] at addresses[{Control.VALIDATION}]",
        f"held[{Control.EPOCH}] = words[{Control.EPOCH}]",
        f"held[{Control.BATCH}] = 0",
        f"held[{Control.BUDGET}] = words[{Control.VALIDATION_BATCHES}]",
        f"call (addresses[{Control.VALIDATION_FIT}])(addresses[{Control.VALIDATION}])",
        f"if not_equal(held[{Control.STATUS}], 0):",
        f"  words[{Control.BUDGET}] = 0",
    ]


def _round(loop: Loop) -> Lines:
    """One step of the loop."""
    rows, random = f"words[{Control.ROWS}]", f"offset(control, {8 * Control.RANDOM})"
    last = ["break"] if loop.remainder is None else _step(loop, loop.remainder)
    ends = loop.validates or loop.watches
    left = [f"if less_equal(words[{Control.BUDGET}], 0):", "  break"] if ends else []
    return [
        *_close_epoch(loop),
        *left,
        f"if less_equal(words[{Control.EPOCHS}], words[{Control.EPOCH}]):",
        "  break",
        f"let batch = words[{Control.BATCH}]",
        f"if bitwise_and(equal(batch, 0), not_equal(words[{Control.SHUFFLE}], 0)):",
        f"  call {SHUFFLE}(addresses[{Control.ORDER}], {rows}, {random})",
        "if less(batch, whole):",
        *indented(_step(loop, loop.whole)),
        "else:",
        *indented(last),
    ]


def _step(loop: Loop, step: StepLayout) -> Lines:
    """Gather, run the step, check, keep, measure, count."""
    whole = step is loop.whole
    table = Control.TABLE if whole else Control.TABLE_REMAINDER
    lines = [
        f"let table = addresses[{table}]",
        f"let step = addresses[{_step_word(loop, step)}]",
    ]
    further = Control.FURTHER if whole else Control.FURTHER_REMAINDER
    lines += gather.point_at_further(step, further)
    if whole:
        lines += gather.point_at_rows(step, loop.direct)
    elif step.room:  # the table of whole batches
        lines += gather.restore_buffers(loop.direct)
    if _shares_rows(step):
        lines.append(f"call mynn_lead({_SYNC}, workers, table, @{_name(loop, step, 'share')})")
    else:
        lines.append(f"call {_name(loop, step, 'gather')}(control, table, 0, {step.filled})")
        led = f"call mynn_lead({_SYNC}, workers, table, step)"
        lines.append(led if step.split else "call (step)(table)")
    lines.append("view entries: ptr[] at table")
    return [
        *lines,
        *_check(step),
        *gather.keep_results(step, loop.whole.rows),
        *_measure(step),
        f"words[{Control.BATCH}] = batch + 1",
        f"words[{Control.STEPS}] = add(words[{Control.STEPS}], 1)",
        f"words[{Control.BUDGET}] = sub(words[{Control.BUDGET}], 1)",
        *_stop(step),
    ]


def _check(step: StepLayout) -> Lines:
    """Leaves the loop where a check has stopped the step; `failed` are the bits of all checks."""
    if step.status is None:
        return []
    return [
        f"view status: i32[1] at entries[{step.status}]",
        f"let heard = bitwise_xor(words[{Control.MUTED}], -1)",
        "let failed = bitwise_and(cast.i64(status[0]), heard)",
        f"if not_equal(bitwise_and(failed, {STOPS}), 0):",
        f"  words[{Control.STATUS}] = failed",
        "  break",
    ]


def _measure(step: StepLayout) -> Lines:
    """Adds the results of the step to the sums of the epoch."""
    lines = [
        f"let epoch = words[{Control.EPOCH}]",
        f"view sums: f64[] at addresses[{Control.METRICS}]",
    ]
    width, column = sum(metric.size for metric in step.metrics), 0
    for number, metric in enumerate(step.metrics):
        lines.append(f"view result{number}: {metric.type}[{metric.size}] at entries[{metric.slot}]")
        if metric.size == 1:
            total = f"sums[{width}*epoch + {column}]"
            lines += [
                f"let value{number} = cast.f64(result{number}[0])",
                f"{total} = add({total}, mul(value{number}, {float(step.rows)}))",
            ]
        else:
            total = f"sums[{width}*epoch + e{number} + {column}]"
            value = f"mul(cast.f64(result{number}[e{number}]), {float(step.rows)})"
            lines += [
                f"var e{number} = 0",
                f"while less(e{number}, {metric.size}):",
                f"  {total} = add({total}, {value})",
                f"  e{number} = e{number} + 1",
            ]
        column += metric.size
    return lines if step.metrics else []


def _stop(step: StepLayout) -> Lines:
    """Leaves the loop where the loss is not finite and somebody looks, or a check has warned."""
    lines = []
    if step.metrics and step.metrics[0].size == 1:
        finite = "less(abs(value0), inf)"
        looks = f"not_equal(words[{Control.CHECK}], 0)"
        lines = [
            f"if bitwise_and(logical_not({finite}), {looks}):",
            f"  words[{Control.STOPPED}] = 1",
            "  break",
        ]
    if step.status is not None:
        status = f"words[{Control.STATUS}] = failed"
        lines = [status, *lines, "if not_equal(failed, 0):", "  break"]
    return lines
