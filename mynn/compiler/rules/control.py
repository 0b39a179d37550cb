"""Records of loops over a graph of their own, and of branches between two."""

from __future__ import annotations

from mynn.compiler.rules.record import Composite, Loop, Part, Rule
from mynn.core.primitive import Primitive
from mynn.ops import branches, control

RULES: dict[Primitive, Rule] = {
    control.scan: Loop(),
    branches.cond: Loop(),
    branches.while_loop: Loop(),
    branches.while_pullback: Composite(),
    control.part: Part(),
}
