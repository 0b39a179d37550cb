"""The loop IR read back from its printed form (`mynn.compiler.loop_ir.format`).

What is printed and read again is the same program (`mynn.compiler.loop_ir.canonical`): an index of
one variable and a variable of type i64 are written alike.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from mynn.base.lazy import lazy
from mynn.compiler.loop_ir import ir
from mynn.compiler.loop_ir.affine import Affine
from mynn.compiler.loop_ir.op_types import argument_type, literal_type, literal_value, op_type
from mynn.compiler.loop_ir.walk import expr_type
from mynn.errors import VerifyError

_NAME = r"[^\s\[\](),:=]+"


class _Pattern:
    """A regular expression, compiled when a text is first held against it: programs have few of all
    the kinds of statements.
    """

    def __init__(self, text: str) -> None:
        self.text = text

    def match(self, text: str, start: int = 0) -> re.Match[str] | None:
        """What it says of the text from `start` on."""
        return self.compiled.match(text, start)

    @lazy
    def compiled(self) -> re.Pattern[str]:
        """The expression itself."""
        return re.compile(self.text)


_FOR = _Pattern(rf"for ({_NAME}) in (\d+)( unroll| vector| parallel)?((?: where [^<]*<=? .*?)*):$")
_WHERE = _Pattern(r" where 0 <= (.*?) < (\d+)")
_BUFFER = _Pattern(rf"({_NAME}): (\w+)\[(\d*)\] (.*)$")
_FUNCTION = _Pattern(
    rf"function ({_NAME})\((.*)\)(?: -> (\w+))?( exported)?( inline| noinline)?:(?:  # (.*))?$"
)
_KERNEL = _Pattern(rf"kernel ({_NAME}):(?:  # (.*))?$")
_LET = _Pattern(rf"let ({_NAME})(?:: (\w+))? = (.*)$")
_CALL = _Pattern(rf"call (?:\((.*?)\)|({_NAME}))\(")
_ATOMIC = _Pattern(rf"atomic (\w+)\(({_NAME})\[(.*?)\](?:, (.*))?\) (\w+)$")
_STORE = _Pattern(rf"({_NAME})\[(.*?)\] = (.*)$")
_ASSIGN = _Pattern(rf"({_NAME}) = (.*)$")
_ELEMENT = _Pattern(rf"(?:reduce_(\w+) )?({_NAME})\[(.*?)(?: \+: (\d+))?\]")
_OP = _Pattern(r"(\w+?)(?:\.(\w+))?\(")
_LITERAL = _Pattern(r"(True|False|nan|-?inf|-?\d+(?:\.\d+)?(?:e[+-]?\d+)?)(?::(\w+))?$")
_TERM = _Pattern(rf"(?:(-?\d+)\*)?({_NAME})$")

Lines = list[tuple[int, int, str]]


def parse_kernel(text: str, buffers: Iterable[ir.Buffer]) -> ir.Kernel:
    """The kernel that a text shows, on these buffers in memory."""
    lines = _lines(text)
    name, comment = _match(_KERNEL, lines[0])
    body, end = _Parser(buffers).body(lines, 1, lines[0][1] + 1)
    _require(end == len(lines), lines[end - 1], "the kernel has ended")
    return ir.Kernel(name, tuple(body), comment or "")


def parse_function(text: str) -> ir.Function:
    """The function that a text shows."""
    lines = _lines(text)
    name, parameters, result, exported, inline, comment = _match(_FUNCTION, lines[0])
    given = [ir.Var(*part.split(": ")) for part in parameters.split(", ") if part]
    parser = _Parser(())
    parser.types.update((parameter.name, parameter.type) for parameter in given)
    parser.result = result
    body, end = parser.body(lines, 1, lines[0][1] + 1)
    _require(end == len(lines), lines[end - 1], "the function has ended")
    inline = (inline or "").strip()
    return ir.Function(
        name, tuple(given), tuple(body), result or "", bool(exported), inline, comment or ""
    )


def _lines(text: str) -> Lines:
    """The lines of a text: number, depth, what they say."""
    lines = []
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.lstrip(" ")
        if stripped:
            lines.append((number, (len(line) - len(stripped)) // 2, stripped))
    if not lines:
        raise VerifyError("there is no loop IR in an empty text")
    base = lines[0][1]
    return [(number, depth - base, line) for number, depth, line in lines]


def _require(condition: Any, line: tuple[int, int, str], message: str) -> None:
    if not condition:
        raise VerifyError(f"line {line[0]}, {line[2]!r}: {message}")


def _match(pattern: _Pattern, line: tuple[int, int, str]) -> tuple[str, ...]:
    match = pattern.match(line[2])
    _require(match, line, "this is no loop IR")
    assert match is not None
    return match.groups()


class _Parser:
    """Reads statements; knows what names mean at the place where it is."""

    def __init__(self, buffers: Iterable[ir.Buffer]) -> None:
        self.buffers: dict[str, ir.Buffer] = {buffer.name: buffer for buffer in buffers}
        self.types: dict[str, str] = {}
        self.result: str | None = None

    # -- statements --------------------------------------------------------------------------------

    def body(self, lines: Lines, start: int, depth: int) -> tuple[list[Any], int]:
        """The statements from a line on that stand at this depth, and the line behind them."""
        types, buffers = dict(self.types), dict(self.buffers)
        statements: list[Any] = []
        while start < len(lines) and lines[start][1] >= depth:
            line = lines[start]
            _require(line[1] == depth, line, "it is indented too far")
            try:
                statement, start = self.statement(lines, start, depth)
            except (KeyError, ValueError, AttributeError, IndexError) as error:
                raise VerifyError(f"line {line[0]}, {line[2]!r}: {error!r}") from None
            statements.append(statement)
        self.types, self.buffers = types, buffers
        return statements, start

    def statement(self, lines: Lines, start: int, depth: int) -> tuple[Any, int]:
        """A statement with all that stands in it."""
        line = lines[start]
        word, _, rest = line[2].partition(" ")
        if word == "for":
            var, extent, kind, where = _match(_FOR, line)
            outer = self.types.get(var)
            self.types[var] = ir.INDEX
            conditions = tuple(
                ir.Within(self.affine(index), int(limit))
                for index, limit in _WHERE.compiled.findall(where)
            )
            body, end = self.body(lines, start + 1, depth + 1)
            del self.types[var]
            if outer is not None:
                self.types[var] = outer
            kind = (kind or " serial").strip()
            return ir.For(var, int(extent), tuple(body), kind, conditions), end
        if word in ("if", "while") and line[2].endswith(":"):
            condition = self.expr(rest[:-1], "bool")
            body, end = self.body(lines, start + 1, depth + 1)
            if word == "while":
                return ir.While(condition, tuple(body)), end
            orelse: list[Any] = []
            if end < len(lines) and lines[end][1:] == (depth, "else:"):
                orelse, end = self.body(lines, end + 1, depth + 1)
            return ir.If(condition, tuple(body), tuple(orelse)), end
        return self.simple(line, word, rest), start + 1

    def simple(self, line: tuple[int, int, str], word: str, rest: str) -> Any:
        """A statement of one line."""
        if word == "let":
            return self.let(line)
        if word == "var":
            name, text = _match(_ASSIGN, (line[0], line[1], rest))
            value = self.expr(text)
            self.types[name] = expr_type(value)
            return ir.Declare(name, value)
        if word == "local":
            name, type, elements, place = _match(_BUFFER, (line[0], line[1], rest))
            buffer = self.buffers[name] = ir.Buffer(name, type, int(elements), place)
            return ir.Local(buffer)
        if word == "view":
            name, type, elements, place = _match(_BUFFER, (line[0], line[1], rest))
            address = self.expr(place.removeprefix("at "))
            buffer = self.buffers[name] = ir.Buffer(name, type, int(elements or 0), "view")
            return ir.View(buffer, address)
        if word == "prefetch":
            name, index = rest[:-1].split("[")
            return ir.Prefetch(self.buffers[name], self.affine(index))
        if word == "return":
            return ir.Return(self.expr(rest, self.result) if rest else None)
        if word == "break" and not rest:
            return ir.Break()
        if word == "call":
            return self.call(line[2])
        if word == "atomic":
            return self.atomic(line)
        store = _STORE.match(line[2])
        if store:
            buffer = self.buffers[store[1]]
            return ir.Store(buffer, self.affine(store[2]), self.expr(store[3], buffer.type))
        name, text = _match(_ASSIGN, line)
        return ir.Assign(name, self.expr(text))

    def let(self, line: tuple[int, int, str]) -> Any:
        """What binds a variable: a value, a call, an atomic step."""
        name, type, text = _match(_LET, line)
        if text.startswith("call "):
            self.types[name] = type
            return self.call(text, name, type)
        if text.startswith("atomic "):
            atomic = self.atomic((line[0], line[1], text), name)
            self.types[name] = atomic.type
            return atomic
        value = self.expr(text)
        self.types[name] = expr_type(value)
        return ir.Let(name, value)

    def call(self, text: str, result: str = "", type: str = "") -> ir.Call:
        """A call."""
        match = _CALL.match(text)
        assert match is not None
        address, name = match.groups()
        args = tuple(self.arguments(text[match.end() : -1]))
        return ir.Call(name if address is None else self.expr(address), args, result, type)

    def atomic(self, line: tuple[int, int, str], result: str = "") -> ir.Atomic:
        """An atomic step."""
        op, name, index, args, order = _match(_ATOMIC, line)
        buffer = self.buffers[name]
        values = tuple(self.arguments(args or "", buffer.type))
        return ir.Atomic(op, buffer, self.affine(index), values, order, result)

    # -- expressions -------------------------------------------------------------------------------

    def arguments(self, text: str, expected: str | None = None) -> Iterator[ir.Expr]:
        """Expressions with commas between them."""
        place = 0
        while place < len(text):
            value, place = self.expression(text, place, expected)
            yield value
            place += len(", ")

    def expr(self, text: str, expected: str | None = None) -> ir.Expr:
        """A whole text as an expression."""
        value, end = self.expression(text, 0, expected)
        if end != len(text):
            raise ValueError(f"{text[end:]!r} is left over")
        return value

    def expression(self, text: str, start: int, expected: str | None) -> tuple[ir.Expr, int]:
        """The expression that begins at a place, and where it ends."""
        element = _ELEMENT.match(text, start)
        if element:
            op, name, index, count = element.groups()
            buffer, at = self.buffers[name], self.affine(index)
            if op:
                return ir.Reduce(op, buffer, at, int(count)), element.end()
            return ir.Load(buffer, at), element.end()
        head = _OP.match(text, start)
        if head:
            return self.operation(text, head, expected)
        end = min((text.find(c, start) % (len(text) + 1) for c in ",)"), default=len(text))
        return self.leaf(text[start:end], expected), end

    def operation(self, text: str, head: re.Match[str], expected: str | None) -> tuple[ir.Op, int]:
        """An operation on arguments."""
        name, declared = head.groups()
        place, before = head.end(), None
        args: list[ir.Expr] = []
        while text[place] != ")":
            place += len(", ") if args else 0
            hint = argument_type(name, len(args), expected, before)
            arg, place = self.expression(text, place, hint)
            if args or name != "where":
                before = before or expr_type(arg)
            args.append(arg)
        type = op_type(name, tuple(map(expr_type, args)), declared or "")
        return ir.Op(name, tuple(args), type), place + 1

    def leaf(self, text: str, expected: str | None) -> ir.Expr:
        """A number, a variable, an index, or the address of a function."""
        number = _LITERAL.match(text)
        if number:
            type = number[2] or expected or literal_type(number[1])
            return ir.Const(literal_value(number[1], type), type)
        if text.startswith("@"):
            return ir.FunctionAddress(text[1:])
        type = self.types.get(text, ir.INDEX)
        return self.affine(text) if type == ir.INDEX else ir.Var(text, type)

    def affine(self, text: str) -> Affine:
        """An index."""
        constant, terms = 0, dict[str, int]()
        for part in text.split(" + "):
            if part.removeprefix("-").isdigit():
                constant += int(part)
                continue
            term = _TERM.match(part)
            if term is None or self.types[term[2]] != ir.INDEX:
                raise ValueError(f"{part!r} is no part of an index")
            terms[term[2]] = terms.get(term[2], 0) + int(term[1] or 1)
        return Affine(constant, tuple(sorted((name, n) for name, n in terms.items() if n)))
