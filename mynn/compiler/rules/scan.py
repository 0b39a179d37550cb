"""Records of scans: the operation that combines, and the number that it starts from."""

from __future__ import annotations

from mynn.compiler.rules.record import Rule, Scan, same_order, zero
from mynn.core.primitive import Primitive
from mynn.ops import scan

RULES: dict[Primitive, Rule] = {
    scan.cumsum: Scan("add", zero, order=same_order),
}
