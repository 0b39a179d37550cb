"""Records of loops over a graph of their own."""

from __future__ import annotations

from mynn.compiler.rules.record import Loop, Part, Rule
from mynn.core.primitive import Primitive
from mynn.ops import control

RULES: dict[Primitive, Rule] = {control.scan: Loop(), control.part: Part()}
