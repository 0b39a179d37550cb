"""The builder of LLVM functions: blocks, typed values, names. All LLVM text is written with it.

A block may have parameters, which whoever goes there gives values; LLVM calls them phis:

    head, done = f.block("loop"), f.block("done")
    i = f.parameter(head, "i64")
    f.jump(head, zero)                      br label %loop1
    f.enter(head)                         loop1:
                                            %v1 = phi i64 [ 0, %entry ], [ %v2, %loop1 ]
    following = f.binary("add", i, one)     %v2 = add i64 %v1, 1
    f.branch(more, (head, following), done)
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import field
from typing import Any, TypeVar

from mynn.base.dataclass import dataclass
from mynn.compiler.codegen.values import Value, constant, llvm_type, vector
from mynn.errors import CompileError
from mynn.target.target import Target

T = TypeVar("T")
# Kernels, and what calls them, may take denormal numbers for zeros.
FLUSHING = "#0"
# Instructions that must not run where the program does not run them, unless by a number.
_MAY_FAIL = frozenset({"udiv", "urem", "sdiv", "srem"})
_ATTRIBUTES = f'attributes {FLUSHING} = {{ "denormal-fp-math"="preserve-sign,preserve-sign" }}'


class Module:
    """The text of an LLVM module: functions, and each declaration and library function once."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.functions: list[str] = []
        self.stack_bytes = 0
        self.declarations: dict[str, None] = {}
        self._library: set[str] = set()

    def add(self, text: str) -> None:
        """Add a function, or a constant."""
        self.functions.append(text)

    def declare(self, text: str) -> None:
        """Add a declaration, once."""
        self.declarations[text] = None

    def constant(self, name: str, values: Sequence[Value]) -> Value:
        """The address of an array of constants."""
        entries = ", ".join(value.typed for value in values)
        kind = f"[{len(values)} x {values[0].llvm_type}]"
        self.add(f"@{name} = private constant {kind} [{entries}]")
        return Value(f"@{name}", "ptr")

    def require(self, name: str, make: Callable[[], None]) -> None:
        """Have `make` add the function of this name, where it is not there."""
        if name not in self._library:
            self._library.add(name)
            make()

    def text(self) -> str:
        """The whole module."""
        return "\n".join([*self.declarations, *self.functions, _ATTRIBUTES, ""])


@dataclass(eq=False, slots=True)
class Block:
    """Instructions in order; `edges` are the labels it is reached from, with its parameters."""

    name: str
    lines: list[str] = field(default_factory=list)
    parameters: list[Value] = field(default_factory=list)
    edges: list[tuple[str, Sequence[Value]]] = field(default_factory=list)

    def text(self) -> Iterator[str]:
        """Its lines."""
        yield f"{self.name}:"
        for number, parameter in enumerate(self.parameters):
            given = ", ".join(f"[ {values[number].text}, %{at} ]" for at, values in self.edges)
            yield f"  {parameter.text} = phi {parameter.llvm_type} {given}"
        yield from self.lines


# Where to go, and the values of the parameters there.
Edge = Block | tuple[Block, Sequence[Value]]


class Function:
    """Writes a function into a module, instruction by instruction.

    `block` is where the next instruction goes.
    """

    def __init__(
        self,
        module: Module,
        name: str,
        parameters: Sequence[Value] = (),
        result: Value | None = None,
        attributes: str = "nounwind",
        internal: bool = True,
    ) -> None:
        self.module = module
        linkage = "internal " if internal else ""
        kind = "void" if result is None else result.llvm_type
        given = ", ".join(parameter.typed for parameter in parameters)
        self._head = f"define {linkage}{kind} @{name}({given}) {attributes} {{"
        self._prologue: dict[str, Value] = {}
        self._count = 0
        self._known: dict[Hashable, Any] = {}
        self._here: dict[str, Value] = {}
        self._scopes: list[list[Hashable]] = [[]]
        # The scopes that are open; for each value, those it was made in; the blocks before them.
        self._depth = 0
        self._depths: dict[str, int] = {}
        self._before: list[Block | None] = [None]
        # Of the scopes that are open, those that may not run.
        self._unsure: list[int] = []
        self.block = Block("entry")
        self._blocks = [self.block]
        self._lines = self.block.lines

    # -- instructions ------------------------------------------------------------------------------

    def name_value(self) -> str:
        """A new SSA name."""
        self._count += 1
        return f"%v{self._count}"

    def value(self, text: str, type: str, lanes: int = 1) -> Value:
        """An instruction with a result."""
        self._count += 1
        name = f"%v{self._count}"
        self._lines.append(f"  {name} = {text}")
        self._depths[name] = self._depth
        return Value(name, type, lanes)

    def depth(self, value: Value) -> int:
        """In how many scopes a value is made."""
        return self._depths.get(value.text, 0)

    def pure(
        self, text: str, type: str, lanes: int, operands: Sequence[Value], may_fail: bool = False
    ) -> Value:
        """An instruction that may run anywhere, and gives the same for the same operands: once
        where it was written already, and before loops in which its operands do not change. One that
        `may_fail`, as a load outside memory does, runs where it would anyway.
        """
        found: Value | None = self._known.get(text)
        if found is not None:  # perhaps for another type of the same bits
            return found if found.type == type else Value(found.text, type, lanes)
        deepest, depth = self._depth, 0
        for operand in operands:
            depth = max(depth, self._depths.get(operand.text, 0))
        if may_fail and self._unsure:
            depth = max(depth, self._unsure[-1])
        while depth < deepest and self._before[depth + 1] is None:
            depth += 1
        self._scopes[min(depth, deepest)].append(text)
        if depth >= deepest:
            value = self._known[text] = self.value(text, type, lanes)
            return value
        before = self._before[depth + 1]
        assert before is not None
        self._count += 1
        value = self._known[text] = Value(f"%v{self._count}", type, lanes)
        before.lines.insert(len(before.lines) - 1, f"  {value.text} = {text}")
        self._depths[value.text] = depth
        return value

    def here(self, text: str, type: str) -> Value:
        """An instruction that gives the same for the same operands, once in each block."""
        found = self._here.get(text)
        if found is None:
            found = self._here[text] = self.value(text, type)
        return found

    def first(self, text: str, type: str) -> Value:
        """An instruction at the start of the function, where every block can use its result.

        Equal ones are written once.
        """
        found = self._prologue.get(text)
        if found is None:
            found = self._prologue[text] = Value(self.name_value(), type)
        return found

    def effect(self, text: str) -> None:
        """An instruction without a result."""
        self._lines.append(f"  {text}")

    def binary(self, code: str, a: Value, b: Value) -> Value:
        """An instruction whose operands and result have one type."""
        text = f"{code} {a.typed}, {b.text}"
        if code in _MAY_FAIL and not b.text.isdecimal():
            return self.value(text, a.type, a.lanes)
        return self.pure(text, a.type, a.lanes, (a, b))

    def compare(self, code: str, a: Value, b: Value) -> Value:
        """A comparison, `icmp ult` or the like."""
        return self.pure(f"{code} {a.typed}, {b.text}", "bool", a.lanes, (a, b))

    def select(self, condition: Value, a: Value, b: Value) -> Value:
        """a where the condition holds, else b."""
        text = f"select {condition.typed}, {a.typed}, {b.typed}"
        return self.pure(text, a.type, a.lanes, (condition, a, b))

    def freeze(self, value: Value) -> Value:
        """The same value. LLVM does not look through it: a counter that it counts is nothing that
        LLVM would reduce the strength of, which takes it long and finds little.
        """
        return self.pure(f"freeze {value.typed}", value.type, value.lanes, (value,))

    def call(self, name: str, arguments: Sequence[Value], type: str = "", lanes: int = 1) -> Value:
        """A call of a function, which has a result where `type` says which."""
        given = ", ".join(argument.typed for argument in arguments)
        if type:
            return self.value(f"call {llvm_type(type, lanes)} {name}({given})", type, lanes)
        self.effect(f"call void {name}({given})")
        return Value("", "")  # nothing

    def intrinsic(self, name: str, arguments: Sequence[Value], type: str, lanes: int = 1) -> Value:
        """A call of a function that is declared by its arguments, as LLVM's own ones are."""
        types = ", ".join(argument.llvm_type for argument in arguments)
        result = llvm_type(type, lanes) if type else "void"
        self.module.declare(f"declare {result} {name}({types})")
        return self.call(name, arguments, type, lanes)

    def broadcast(self, value: Value, lanes: int) -> Value:
        """A scalar repeated over lanes; a vector as it is."""
        if value.lanes == lanes:
            return value
        if value.lanes != 1:
            raise CompileError(f"a vector of {value.lanes} lanes where {lanes} were expected")
        if not value.text.startswith("%"):
            text = vector([value.text] * lanes, llvm_type(value.type))
            return Value(text, value.type, lanes)
        kind = llvm_type(value.type, lanes)
        text = f"insertelement {kind} poison, {value.typed}, i64 0"
        one = self.pure(text, value.type, lanes, (value,))
        text = f"shufflevector {one.typed}, {kind} poison, <{lanes} x i32> zeroinitializer"
        return self.pure(text, value.type, lanes, (one,))

    # -- blocks ------------------------------------------------------------------------------------

    def make_block(self, name: str) -> Block:
        """A new block, which begins where it is entered."""
        self._count += 1
        return Block(f"{name}{self._count}")

    def parameter(self, block: Block, type: str, lanes: int = 1, name: str = "v") -> Value:
        """A new parameter of a block."""
        self._count += 1
        value = Value(f"%{name}{self._count}", type, lanes)
        self._depths[value.text] = self._depth
        block.parameters.append(value)
        return value

    def enter(self, block: Block) -> None:
        """Write the block's instructions from here on."""
        self.block, self._lines = block, block.lines
        self._here.clear()
        self._blocks.append(block)

    def _to(self, edge: Edge) -> str:
        block, values = edge if isinstance(edge, tuple) else (edge, ())
        block.edges.append((self.block.name, values))
        return f"label %{block.name}"

    def jump(self, to: Edge) -> None:
        """Go on in another block."""
        self.effect(f"br {self._to(to)}")

    def branch(self, condition: Value, yes: Edge, no: Edge) -> None:
        """Go on in one of two blocks."""
        self.effect(f"br i1 {condition.text}, {self._to(yes)}, {self._to(no)}")

    def give(self, value: Value | None = None) -> None:
        """Return."""
        self.effect("ret void" if value is None else f"ret {value.typed}")

    # -- values that are known ---------------------------------------------------------------------

    @contextmanager
    def scope(self, before: Block | None = None, sure: bool = True) -> Iterator[None]:
        """Blocks that do not dominate what follows: what `once` makes in them is forgotten.

        `before` ends where they begin: what does not depend on them may go there. `sure`: they run
        at least once then.
        """
        self._depth += 1
        if not sure:
            self._unsure.append(self._depth)
        self._scopes.append([])
        self._before.append(before)
        yield
        if not sure:
            self._unsure.pop()
        self._depth -= 1
        for key in self._scopes.pop():
            del self._known[key]
        self._before.pop()

    def once(self, key: Hashable, make: Callable[[], T]) -> T:
        """The value that `make` gave for this key in a block that dominates this one, or gives."""
        found: T | None = self._known.get(key)
        if found is None:
            depth = self._depth
            found = self._known[key] = make()
            self._scopes[depth].append(key)
        return found

    # -- text --------------------------------------------------------------------------------------

    def text(self) -> str:
        """The whole function."""
        entry, *others = self._blocks
        first = [f"  {value.text} = {text}" for text, value in self._prologue.items()]
        body = [line for block in others for line in block.text()]
        return "\n".join([self._head, "entry:", *first, *entry.lines, *body, "}", ""])

    def finish(self) -> None:
        """Add the function to its module."""
        self.module.add(self.text())


@functools.cache
def index(value: int) -> Value:
    """An index, or a size, as a constant."""
    return constant(value, "i64")
