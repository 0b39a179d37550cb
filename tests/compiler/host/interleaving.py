"""All interleavings of threads that run host code of the loop IR.

The steps of the functions (`mynn.compiler.loop_ir.steps`) are run one by one, one thread at a time,
in every order: an order matters only where shared memory is touched, so a transition is one such
step and what follows it in the thread's own variables. States that were seen are not looked at
again. Memory is sequentially consistent: 64-bit words from address 0 on.

Calls of `k0`, `k1`, ... are events: kernel, table, worker, number of workers. `Explorer` holds
them to the rules: each share once, in time, a kernel after all shares of the one before it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from mynn.compiler.loop_ir.ir import SYSTEM, Function, Signature
from mynn.compiler.loop_ir.machine import atomic
from mynn.compiler.loop_ir.steps import Step, Variables, steps_of
from mynn.compiler.loop_ir.verify import verify_function

# Variables that count rounds of waiting: they are compared with small numbers alone.
_COUNTER = "rounds"
_MOST = 6
_KERNEL = re.compile(r"k\d$")
_SHARE = Signature(("ptr", "i64", "i64"))
_WORD = 8

Value = Any
Kept = tuple[tuple[str, Value], ...]
Frame = tuple[str, int, Kept]
Stack = tuple[Frame, ...]


class Wrong(AssertionError):
    """A rule that is broken in some interleaving."""


class State(NamedTuple):
    """Everything: memory, the leaders (in order) and the workers (in any), and what was done.

    - `starts`: for each worker how many threads may still be started for it.
    - `open`: tables that are in use. `done`: events on them.
    """

    memory: tuple[Value, ...]
    leaders: tuple[Stack, ...]
    workers: tuple[Stack, ...]
    starts: tuple[int, ...]
    open: frozenset[int]
    done: frozenset[tuple[int, int, int, int]]


class Explorer:
    """All that can happen to some leaders, each with a script, and the workers that they start.

    A script is a list of
        ("open", table), ("close", table)    the leader uses the table in between
        ("call", name, arguments)            runs a function; its result is kept
        ("start", worker, address)           starts a thread if the word there is 0, or fails to
        ("unless", place)                    goes on at `place` unless the result is 0
        ("store", address, value)
    """

    def __init__(
        self,
        functions: Sequence[Function],
        scripts: list[list[tuple[Any, ...]]],
        worker: str,
        kernels: int,
        words: int,
        workers: int,
        starts: int = 2,
        memory: dict[int, Value] | None = None,
    ) -> None:
        kernel_names = [f"k{number}" for number in range(kernels)]
        signatures = {function.name: function.signature for function in functions}
        signatures.update(dict.fromkeys(kernel_names, _SHARE))
        for function in functions:
            verify_function(function, signatures)
        names = [*(function.name for function in functions), *kernel_names]
        addresses = {name: -1 - place for place, name in enumerate(names)}
        self.names = {address: name for name, address in addresses.items()}
        self.functions = {function.name: steps_of(function, addresses) for function in functions}
        self.scripts = scripts
        self.worker = worker
        self.kernels = kernels
        first = [0] * words
        for address, value in (memory or {}).items():
            first[address] = value
        leaders = tuple(
            (("script", 0, (("number", n), ("result", 0))),) for n in range(len(scripts))
        )
        self.first = State(
            tuple(first), leaders, (), (0,) + (starts,) * (workers - 1), frozenset(), frozenset()
        )

    def explore(self, most: int = 10**6) -> int:
        """Look at every state; how many there are. Raises `Wrong` where a rule is broken."""
        index = {self.first: 0}
        todo = [self.first]
        backward: list[list[int]] = [[]]
        ends = []
        while todo:
            state = todo.pop()
            number = index[state]
            if not state.leaders and not state.workers:
                ends.append(number)
                self.at_the_end(state)
            for following in self.successors(state):
                other = index.get(following)
                if other is None:
                    other = index[following] = len(index)
                    backward.append([])
                    todo.append(following)
                    assert other < most, "too many states"
                backward[other].append(number)
        reached = set(ends)
        queue = list(ends)
        while queue:
            for number in backward[queue.pop()]:
                if number not in reached:
                    reached.add(number)
                    queue.append(number)
        for state, number in index.items():
            if number not in reached:
                raise Wrong(f"no end can be reached from here any more:\n{describe(state)}")
        return len(index)

    def at_the_end(self, state: State) -> None:
        """Check a state in which nothing runs."""
        if state.open or state.done:
            raise Wrong(f"work was left over:\n{describe(state)}")

    def successors(self, state: State) -> Iterator[State]:
        """What one thread may do next."""
        for number, stack in enumerate(state.leaders):
            rest = state.leaders[:number], state.leaders[number + 1 :]
            for changed, new in self.advance(state, stack):
                leaders = (*rest[0], new, *rest[1]) if new else (*rest[0], *rest[1])
                yield changed._replace(leaders=leaders)
        for number, stack in enumerate(state.workers):
            if number and stack == state.workers[number - 1]:
                continue
            others = state.workers[:number] + state.workers[number + 1 :]
            for changed, new in self.advance(state, stack):
                workers = (*others, new) if new else others
                yield changed._replace(workers=tuple(sorted(workers, key=hash)))

    def advance(self, state: State, stack: Stack) -> Iterator[tuple[State, Stack]]:
        """Do the shared step on which a thread stands, and what follows it in its variables."""
        name, place, kept = stack[-1]
        if name == "script":
            yield from self._script(state, place, dict(kept))
            return
        step, variables = self.functions[name].steps[place], dict(kept)
        values = [compute(variables) for compute in step.args]
        if step.kind == "call":
            state = self._event(state, step.callee, values)
        else:
            memory, word = state.memory, _place(values[0])
            old = memory[word]
            new = values[1] if step.kind == "store" else old
            result = old
            if step.kind == "atomic":
                result, new = atomic(step.op, step.type, old, values[1:])
            if step.name:
                variables[step.name] = result
            if new is not old:
                state = state._replace(memory=_with(memory, word, new))
        yield state, self._locally(stack[:-1], name, place + 1, variables)

    def _event(self, state: State, kernel: str, values: list[Value]) -> State:
        table, worker, workers = values
        number = int(kernel[1:])
        event = number, table, worker, workers
        if table not in state.open:
            raise Wrong(f"{event}: the table is not in use:\n{describe(state)}")
        if event in state.done:
            raise Wrong(f"{event} for the second time:\n{describe(state)}")
        shares = {(number - 1, table, w, workers) for w in range(workers)}
        if number and not shares <= state.done:
            raise Wrong(f"{event} before the kernel in front of it:\n{describe(state)}")
        return state._replace(done=state.done | {event})

    def _close(self, state: State, table: int) -> State:
        mine = {event for event in state.done if event[1] == table}
        counts = {event[3] for event in mine}
        expected = {(k, table, w, n) for n in counts for k in range(self.kernels) for w in range(n)}
        if len(counts) != 1 or mine != expected:
            raise Wrong(f"table {table} is not done:\n{describe(state)}")
        return state._replace(open=state.open - {table}, done=state.done - mine)

    def _script(
        self, state: State, index: int, values: dict[str, Value]
    ) -> Iterator[tuple[State, Stack]]:
        script = self.scripts[values["number"]]
        if index == len(script):
            yield state, ()
            return
        kind, *words = script[index]
        following = index + 1

        def go(place: int) -> Stack:
            return (("script", place, tuple(values.items())),)

        if kind == "open":
            yield state._replace(open=state.open | {words[0]}), go(following)
        elif kind == "close":
            yield self._close(state, words[0]), go(following)
        elif kind == "store":
            memory = _with(state.memory, words[0], words[1])
            yield state._replace(memory=memory), go(following)
        elif kind == "unless":
            yield state, go(words[0] if values["result"] else following)
        elif kind == "call":
            yield state, self._locally(go(index), words[0], 0, self._arguments(*words))
        else:
            assert kind == "start", kind
            worker, address = words
            yield state, go(following)
            if state.memory[address] == 0 and state.starts[worker]:
                new = self._locally((), self.worker, 0, self._arguments(self.worker, (0, worker)))
                starts = _with(state.starts, worker, state.starts[worker] - 1)
                workers = tuple(sorted((*state.workers, new), key=hash)) if new else state.workers
                yield state._replace(starts=starts, workers=workers), go(following)

    def _locally(self, below: Stack, name: str, place: int, variables: Variables) -> Stack:
        """The stack at the next shared step, with the variables that are still needed."""
        while True:
            code = self.functions[name]
            step = code.steps[place]
            if step.kind in ("load", "store", "atomic"):
                break
            values = [compute(variables) for compute in step.args]
            place += 1
            if step.kind == "set":
                value = min(values[0], _MOST) if step.name == _COUNTER else values[0]
                variables[step.name] = value
            elif step.kind == "branch":
                place = place if values[0] else step.target
            elif step.kind == "jump":
                place = step.target
            elif step.kind == "return":
                result = values[0] if values else 0
                if not below:
                    return ()
                name, place, kept = below[-1]
                below, variables = below[:-1], dict(kept)
                if name == "script":
                    variables["result"] = result
                    return (*below, (name, place + 1, tuple(variables.items())))
                _set(self.functions[name].steps[place - 1], variables, result)
            else:
                target = step.callee or self.names[values.pop(0)]
                if _KERNEL.match(target):
                    place -= 1
                    break
                if target in SYSTEM:
                    _set(step, variables, 0)
                    continue
                below = (*below, (name, place, _kept(variables, code.live[place] - {step.name})))
                name, place, variables = target, 0, self._arguments(target, values)
        return (*below, (name, place, _kept(variables, code.live[place])))

    def _arguments(self, name: str, values: Sequence[Value]) -> Variables:
        parameters = self.functions[name].function.parameters
        return {p.name: value for p, value in zip(parameters, values, strict=True)}


def _set(step: Step, variables: Variables, result: Value) -> None:
    if step.name:
        variables[step.name] = result


def _place(address: int) -> int:
    """The number of the word at an address."""
    if address < 0 or address % _WORD:
        raise Wrong(f"{address} is the address of no word")
    return address // _WORD


def _kept(variables: Variables, live: frozenset[str]) -> Kept:
    return tuple((name, variables[name]) for name in sorted(live))


def _with(words: tuple[Any, ...], place: int, value: Any) -> tuple[Any, ...]:
    return (*words[:place], value, *words[place + 1 :])


def describe(state: State) -> str:
    """A state in words."""
    words = {place: word for place, word in enumerate(state.memory) if word}
    lines = [f"memory {words}", f"open {set(state.open)}, done {sorted(state.done)}"]
    for kind, stacks in (("leader", state.leaders), ("worker", state.workers)):
        lines += [
            f"{kind}: " + " > ".join(f"{f[0]}:{f[1]} {dict(f[2])}" for f in s) for s in stacks
        ]
    return "\n".join(lines)
