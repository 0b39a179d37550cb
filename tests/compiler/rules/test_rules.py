"""Every primitive has one record, and the compiler asks it: nothing asks for a name."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest

import mynn
from mynn.compiler.loop_ir.affine import Affine
from mynn.compiler.rules import all_rules, rule_of
from mynn.compiler.rules.record import (
    Composite,
    Contraction,
    Elementwise,
    Leaf,
    Movement,
    Reduction,
    Rule,
    Scan,
)
from mynn.core.graph import CONSTANT, INPUT, Node, apply, input_node
from mynn.core.primitive import Cost, Primitive
from mynn.core.types import Type
from mynn.errors import CompileError
from mynn.ops import PRIMITIVES, branches, control, elementwise
from tests.helpers import f32
from tests.ops.cases import samples

PACKAGE = Path(mynn.__file__).parent
RULES = all_rules()
NAMES = {primitive.name for primitive in PRIMITIVES}


def applications(primitive: Primitive) -> list[Node]:
    """The primitive applied to its samples."""
    return [
        apply(primitive, *(input_node(Type.of(array)) for array in sample.arrays), **sample.params)
        for sample in samples(primitive)
    ]


@pytest.mark.parametrize("primitive", PRIMITIVES, ids=repr)
def test_every_primitive_has_a_record(primitive: Primitive) -> None:
    assert primitive in RULES, f"{primitive} has no record: add one to mynn/compiler/rules"


def test_nothing_else_has_a_record() -> None:
    loops = {*control.PRIMITIVES, *branches.PRIMITIVES}
    assert set(RULES) == {*PRIMITIVES, *loops, INPUT, CONSTANT}


def test_leaves() -> None:
    assert isinstance(RULES[INPUT], Leaf)
    assert isinstance(RULES[CONSTANT], Leaf)


def test_no_record_says_what_to_do() -> None:
    tanh = elementwise.tanh
    other = Primitive("other", tanh.infer, tanh.numpy, None, tanh.samples)
    with pytest.raises(CompileError, match="no record of the primitive other; add one to"):
        rule_of(apply(other, input_node(f32(3))))


def test_elementwise_primitives_have_elementwise_records() -> None:
    for primitive in PRIMITIVES:
        assert isinstance(RULES[primitive], Elementwise) == primitive.elementwise, primitive


def test_composites_can_be_written_out() -> None:
    for primitive in PRIMITIVES:
        if isinstance(RULES[primitive], Composite):
            assert primitive.expand is not None, primitive


@pytest.mark.parametrize(
    "primitive", [p for p in PRIMITIVES if isinstance(RULES[p], Elementwise)], ids=repr
)
def test_commutative_operations_commute(primitive: Primitive) -> None:
    rule = RULES[primitive]
    assert isinstance(rule, Elementwise)
    for sample in samples(primitive) if rule.commutative else ():
        x, y = sample.arrays
        assert (primitive.numpy(x, y) == primitive.numpy(y, x)).all()


@pytest.mark.parametrize(
    "primitive", [p for p in PRIMITIVES if isinstance(RULES[p], Movement)], ids=repr
)
def test_indices_of_movement_are_where_values_come_from(primitive: Primitive) -> None:
    """NumPy moves the positions of elements; the record's index leads to the same ones."""
    rule = RULES[primitive]
    assert isinstance(rule, Movement)
    tried = 0
    for sample, node in zip(samples(primitive), applications(primitive), strict=True):
        if not rule.affine(node):
            continue
        shape = sample.arrays[0].shape
        positions = np.arange(int(np.prod(shape))).reshape(shape)
        moved = np.asarray(primitive.numpy(positions, **sample.params))
        for place in np.ndindex(moved.shape):
            index = rule.index(node, tuple(Affine(i) for i in place))
            assert all(not i.terms for i in index)
            assert moved[place] == positions[tuple(i.constant for i in index)]
            tried += 1
    assert tried


@pytest.mark.parametrize("primitive", PRIMITIVES, ids=repr)
def test_axes_and_orders_fit_the_shapes(primitive: Primitive) -> None:
    rule = RULES[primitive]
    for node in applications(primitive):
        axes = rule.axes(node)
        if axes is not None:
            assert len(axes) == len(node.shape)
            for axis, extent in zip(axes, node.shape, strict=True):
                for x in node.inputs if axis is not None else ():
                    assert x.shape[axis] == extent
        if node.inputs and not isinstance(rule, Elementwise):
            orders = [tuple(range(len(x.shape))) for x in node.inputs]
            assert sorted(rule.order(node, orders)) == list(range(len(node.shape)))


@pytest.mark.parametrize(
    "primitive", [p for p in PRIMITIVES if isinstance(RULES[p], Reduction | Scan)], ids=repr
)
@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "int64", "uint32", "uint8"])
def test_starts_change_nothing(primitive: Primitive, dtype: str) -> None:
    rule = RULES[primitive]
    assert isinstance(rule, Reduction | Scan)
    operation = next(p for p in elementwise.PRIMITIVES if p.name == rule.combine)
    values = np.array([0, 1, 2, 100], dtype)
    start = np.array(rule.start(Type.of(values).short), dtype)
    np.testing.assert_array_equal(operation.numpy(start, values), values)


def test_contractions_name_their_axes() -> None:
    for primitive in PRIMITIVES:
        rule = RULES[primitive]
        for node in applications(primitive) if isinstance(rule, Contraction) else ():
            dims = rule.dims(node)
            assert node.shape == (*dims.batch, *dims.rows, *dims.columns)
            first, second = (x.shape for x in node.inputs)
            assert first == (*dims.batch, *dims.rows, *dims.summed)
            assert second == (*dims.batch, *dims.summed, *dims.columns)


def test_records_are_plain() -> None:
    """A record says the same of equal primitives: it holds no state."""
    assert all(isinstance(rule, Rule) for rule in RULES.values())
    assert len(set(RULES)) == len(RULES)


def test_costs() -> None:
    assert elementwise.add.cost is Cost.LIGHT
    assert elementwise.div.cost is Cost.MODERATE
    assert elementwise.tanh.cost is Cost.HEAVY


# -- dispatch --------------------------------------------------------------------------------------


def _is_name_of_primitive(node: ast.expr) -> bool:
    return (
        isinstance(node, ast.Attribute)
        and node.attr == "name"
        and "primitive" in (getattr(node.value, "attr", ""), getattr(node.value, "id", ""))
    )


def compared_names(source: str) -> list[int]:
    """The lines in which the name of a node's primitive is compared, looked up, or given one."""
    lines = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Compare):
            parts = [node.left, *node.comparators]
        elif isinstance(node, ast.Subscript):
            parts = [node.slice]
        elif isinstance(node, ast.Assign | ast.AnnAssign | ast.NamedExpr):
            value = node.value
            parts = [value] if value is not None else []
            parts += value.elts if isinstance(value, ast.Tuple) else []
        elif isinstance(node, ast.Match):
            parts = [node.subject]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            parts = node.args if node.func.attr == "get" else []
        else:
            continue
        if any(map(_is_name_of_primitive, parts)):
            lines.append(node.lineno)
    return lines


# `grad_fn` tells in PyTorch's names what made a tensor, as nodes note it.
BY_NAME = {"tensor/gradients/grad_fn.py", "tensor/at_once/pairs.py"}


def test_nothing_asks_for_the_name_of_a_primitive() -> None:
    for path in sorted(PACKAGE.rglob("*.py")):
        if path.relative_to(PACKAGE).as_posix() in BY_NAME:
            continue
        lines = compared_names(path.read_text(encoding="utf-8"))
        assert not lines, f"{path}, lines {lines}: ask the record of the primitive instead"


@pytest.mark.parametrize(
    "source",
    [
        "if node.primitive.name == 'sum': pass",
        "node.primitive.name in ('sum', 'max')",
        "TABLE[x.primitive.name]",
        "TABLE[primitive.name]",
        "TABLE.get(x.primitive.name)",
        "name = node.primitive.name",
        "name, params = node.primitive.name, node.params",
        "match node.primitive.name:\n    case 'sum': pass",
    ],
)
def test_such_questions_are_found(source: str) -> None:
    assert compared_names(source) == [1]
