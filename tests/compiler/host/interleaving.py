"""All interleavings of threads that run a little LLVM IR: the text itself is what is checked.

The text is run instruction by instruction, one thread at a time, in every order: an order matters
only where shared memory is touched, so a transition is one such instruction and what follows it in
the thread's own registers. States that were seen are not looked at again. Memory is sequentially
consistent.

    op ::= getelementptr | load | store | cmpxchg | atomicrmw add | extractvalue | phi | select
         | add | sub | mul | and | or | lshr | icmp | trunc | br | call | ret

Calls of `@k0`, `@k1`, ... are events: kernel, table, worker, number of workers. `Explorer` holds
them to the rules: each share once, in time, a kernel after all shares of the one before it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

MASK = 2**64 - 1
# Registers that count rounds of waiting: they are compared with small numbers alone.
_COUNTERS = re.compile(r"%rounds")
_MOST = 6
_IGNORED = ("@llvm.x86.sse2.pause", "@sched_yield", "@usleep")

Value = Any
Registers = tuple[tuple[str, Value], ...]
Frame = tuple[str, int, Registers]
Stack = tuple[Frame, ...]


class Wrong(AssertionError):
    """A rule that is broken in some interleaving."""


class Op(NamedTuple):
    """An instruction: its kind, the register it sets, its operands, and further words."""

    kind: str
    result: str
    operands: tuple[str, ...]
    extra: tuple[Any, ...] = ()


@dataclass
class Function:
    """The instructions of a function, where its blocks begin, and which registers are needed."""

    name: str
    parameters: tuple[str, ...]
    ops: list[Op] = field(default_factory=list)
    blocks: dict[str, int] = field(default_factory=dict)
    block_of: list[str] = field(default_factory=list)
    live: list[frozenset[str]] = field(default_factory=list)


def parse(text: str) -> dict[str, Function]:
    """The functions of a text."""
    found = {}
    head = r"define [^@]*@(\w+)\(([^)]*)\)[^{]*\{\n(.*?)\n\}"
    for name, parameters, body in re.findall(head, text, re.S):
        names = tuple(re.findall(r"%[\w.]+", parameters))
        function = Function(f"@{name}", names)
        label = "entry"
        function.blocks[label] = 0
        for line in body.splitlines():
            line = re.sub(r" (inbounds|nsw|nuw)\b", "", line.split(";")[0]).strip()
            if not line:
                continue
            if line.endswith(":"):
                label = line[:-1]
                function.blocks[label] = len(function.ops)
                continue
            op = _parse_op(line)
            if op is not None:
                taken = {other.result for other in function.ops} | {
                    f"%{b}" for b in function.blocks
                }
                assert not op.result or op.result not in taken, f"{op.result} is defined twice"
                function.ops.append(op)
                function.block_of.append(label)
        _find_live(function)
        found[function.name] = function
    return found


_WORD = r"(%[\w.]+|@[\w.]+|-?\d+|null|true|false)"


def _parse_op(line: str) -> Op | None:
    result, _, rest = line.rpartition(" = ") if re.match(r"%[\w.]+ = ", line) else ("", "", line)
    kind = rest.split()[0]

    def words(pattern: str) -> tuple[str, ...]:
        match = re.match(pattern, rest)
        assert match is not None, line
        return match.groups()

    if kind == "getelementptr":
        return Op(kind, result, words(rf"getelementptr \w+, ptr {_WORD}, i64 {_WORD}$"))
    if kind == "load":
        return Op(kind, result, words(rf"load (?:atomic )?\w+, ptr {_WORD}"))
    if kind == "store":
        return Op(kind, result, words(rf"store (?:atomic )?\w+ {_WORD}, ptr {_WORD}"))
    if kind == "cmpxchg":
        return Op(kind, result, words(rf"cmpxchg ptr {_WORD}, i64 {_WORD}, i64 {_WORD}"))
    if kind == "atomicrmw":
        return Op(kind, result, words(rf"atomicrmw add ptr {_WORD}, i64 {_WORD}"))
    if kind == "extractvalue":
        source, index = words(rf"extractvalue {{ i64, i1 }} {_WORD}, (\d)$")
        return Op(kind, result, (source,), (int(index),))
    if kind == "icmp":
        test, a, b = words(rf"icmp (\w+) \w+ {_WORD}, {_WORD}$")
        return Op(kind, result, (a, b), (test,))
    if kind == "select":
        return Op(kind, result, words(rf"select i1 {_WORD}, \w+ {_WORD}, \w+ {_WORD}$"))
    if kind == "trunc":
        return Op(kind, result, words(rf"trunc \w+ {_WORD} to \w+$"))
    if kind == "phi":
        pairs = re.findall(rf"\[ {_WORD}, %([\w.]+) \]", rest)
        return Op(kind, result, tuple(v for v, _ in pairs), tuple(label for _, label in pairs))
    if kind == "br":
        if rest.startswith("br label"):
            return Op(kind, "", (), words(r"br label %([\w.]+)$"))
        condition, yes, no = words(rf"br i1 {_WORD}, label %([\w.]+), label %([\w.]+)$")
        return Op(kind, "", (condition,), (yes, no))
    if kind == "ret":
        return Op(kind, "", tuple(re.findall(rf"ret i64 {_WORD}$", rest)))
    if kind == "call":
        target, arguments = words(rf"call \w+ {_WORD}\((.*)\)$")
        if target in _IGNORED:
            return None
        values = tuple(re.findall(rf"\w+ {_WORD}(?:,|$)", arguments))
        return Op(kind, result, (target, *values))
    return Op(kind, result, words(rf"\w+ \w+ {_WORD}, {_WORD}$"))


def _find_live(function: Function) -> None:
    """For each instruction the registers that it or what follows may read."""
    ops, blocks = function.ops, function.blocks
    live: list[set[str]] = [set() for _ in ops]
    changed = True
    while changed:
        changed = False
        for index in reversed(range(len(ops))):
            op = ops[index]
            after: set[str] = set()
            if op.kind == "br":
                for label in op.extra:
                    place = blocks[label]
                    after |= live[place]
                    while ops[place].kind == "phi":
                        phi = ops[place]
                        after.discard(phi.result)
                        after.add(phi.operands[phi.extra.index(function.block_of[index])])
                        place += 1
            elif op.kind != "ret":
                after |= live[index + 1]
            now = after - {op.result}
            if op.kind != "phi":
                now |= set(op.operands)
            now = {name for name in now if name.startswith("%")}
            if now != live[index]:
                live[index], changed = now, True
    function.live = [frozenset(names) for names in live]


_TESTS = {
    "eq": lambda a, b: a == b,
    "ne": lambda a, b: a != b,
    "ult": lambda a, b: a < b,
    "ule": lambda a, b: a <= b,
    "ugt": lambda a, b: a > b,
    "uge": lambda a, b: a >= b,
    "slt": lambda a, b: _signed(a) < _signed(b),
    "sle": lambda a, b: _signed(a) <= _signed(b),
}
_ARITHMETIC = {
    "add": lambda a, b: (a + b) & MASK,
    "sub": lambda a, b: (a - b) & MASK,
    "mul": lambda a, b: (a * b) & MASK,
    "and": lambda a, b: a & b,
    "or": lambda a, b: a | b,
    "xor": lambda a, b: a ^ b,
    "shl": lambda a, b: (a << b) & MASK,
    "lshr": lambda a, b: a >> b,
}


def _signed(a: int) -> int:
    return a - 2**64 if a >> 63 else a


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
        text: str,
        scripts: list[list[tuple[Any, ...]]],
        worker: str,
        kernels: int,
        words: int,
        workers: int,
        starts: int = 2,
        memory: dict[int, Value] | None = None,
    ) -> None:
        self.functions = parse(text)
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
        """Do the shared instruction on which a thread stands, and what follows it in registers."""
        name, index, registers = stack[-1]
        if name == "script":
            yield from self._script(state, index, dict(registers))
            return
        op = self.functions[name].ops[index]
        values = dict(registers)
        memory = state.memory

        def value(word: str) -> Value:
            return values[word] if word[0] == "%" else constant(word)

        operands = [value(word) for word in op.operands]
        if op.kind == "call":  # a kernel
            state = self._event(state, operands)
        elif op.kind == "store":
            memory = _with(memory, operands[1], operands[0])
        else:
            address = operands[0]
            old = memory[address]
            if op.kind == "load":
                values[op.result] = old
            elif op.kind == "atomicrmw":
                values[op.result] = old
                memory = _with(memory, address, (old + operands[1]) & MASK)
            else:
                assert op.kind == "cmpxchg", op
                values[op.result] = old, int(old == operands[1])
                if old == operands[1]:
                    memory = _with(memory, address, operands[2])
        yield state._replace(memory=memory), self._locally(stack[:-1], name, index + 1, values)

    def _event(self, state: State, operands: list[Value]) -> State:
        kernel, table, worker, workers = operands
        number = int(kernel[2:])
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
            memory = _with(state.memory, words[0], words[1] & MASK)
            yield state._replace(memory=memory), go(following)
        elif kind == "unless":
            yield state, go(words[0] if values["result"] else following)
        elif kind == "call":
            function = self.functions[words[0]]
            frame = dict(zip(function.parameters, words[1], strict=True))
            yield state, self._locally(go(index), function.name, 0, frame)
        else:
            assert kind == "start", kind
            worker, address = words
            yield state, go(following)
            if state.memory[address] == 0 and state.starts[worker]:
                new = self._locally((), self.worker, 0, {"%sync": 0, "%worker": worker})
                starts = _with(state.starts, worker, state.starts[worker] - 1)
                workers = tuple(sorted((*state.workers, new), key=hash)) if new else state.workers
                yield state._replace(starts=starts, workers=workers), go(following)

    def _locally(self, below: Stack, name: str, index: int, values: dict[str, Value]) -> Stack:
        """The stack at the next shared instruction, with the registers that are still needed."""
        while True:
            function = self.functions[name]
            op = function.ops[index]

            def value(word: str, values: dict[str, Value] = values) -> Value:
                return values[word] if word[0] == "%" else constant(word)

            if op.kind in ("load", "store", "cmpxchg", "atomicrmw"):
                break
            if op.kind == "br":
                label = op.extra[0]
                if op.operands:
                    label = op.extra[0 if value(op.operands[0]) else 1]
                index = self._enter(function, function.block_of[index], label, values)
                continue
            if op.kind == "ret":
                result = value(op.operands[0]) if op.operands else 0
                if not below:
                    return ()
                name, index, registers = below[-1]
                below = below[:-1]
                values = dict(registers)
                if name == "script":
                    values["result"] = result
                    return (*below, (name, index + 1, tuple(values.items())))
                values[self.functions[name].ops[index].result] = result
                index += 1
                continue
            if op.kind == "call":
                target, *arguments = (value(word) for word in op.operands)
                if re.match(r"@k\d", target):
                    break
                live = function.live[index + 1] - {op.result}
                below = (*below, (name, index, _kept(values, live)))
                name, index = target, 0
                values = dict(zip(self.functions[target].parameters, arguments, strict=True))
                continue
            self._compute(op, values, value)
            index += 1
        return (*below, (name, index, _kept(values, function.live[index])))

    def _enter(self, function: Function, source: str, label: str, values: dict[str, Value]) -> int:
        """The first instruction of a block behind its phis, which are set all at once."""
        index = function.blocks[label]
        new = {}
        while function.ops[index].kind == "phi":
            phi = function.ops[index]
            word = phi.operands[phi.extra.index(source)]
            new[phi.result] = values[word] if word[0] == "%" else constant(word)
            if _COUNTERS.match(phi.result):
                new[phi.result] = min(new[phi.result], _MOST)
            index += 1
        values.update(new)
        return index

    def _compute(self, op: Op, values: dict[str, Value], value: Any) -> None:
        operands = [value(word) for word in op.operands]
        if op.kind == "getelementptr":
            result = operands[0] + operands[1]
        elif op.kind == "extractvalue":
            result = operands[0][op.extra[0]]
        elif op.kind == "icmp":
            result = int(_TESTS[op.extra[0]](*operands))
        elif op.kind == "select":
            result = operands[1] if operands[0] else operands[2]
        elif op.kind == "trunc":
            result = operands[0]
        else:
            result = _ARITHMETIC[op.kind](*operands)
        values[op.result] = result


def constant(word: str) -> Value:
    """A number, or the name of a function."""
    if word[0] == "@":
        return word
    known = {"null": 0, "true": 1, "false": 0}
    return known[word] if word in known else int(word) & MASK


def _kept(values: dict[str, Value], live: frozenset[str]) -> Registers:
    return tuple((name, values[name]) for name in sorted(live))


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
