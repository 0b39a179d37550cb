"""The records of the order of values."""

from __future__ import annotations

from mynn.compiler.rules.record import ArgSort, Composite, Rule, Selection
from mynn.core.primitive import Primitive
from mynn.ops import sorting

RULES: dict[Primitive, Rule] = {
    sorting.argsort: ArgSort(),
    sorting.kth: Selection(),
    sorting.top: Composite(),
}
