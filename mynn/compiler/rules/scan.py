"""Records of scans: the operation that combines, and the number that it starts from."""

from __future__ import annotations

from mynn.compiler.rules.record import Rule, Scan, largest, least, one, same_order, zero
from mynn.core.primitive import Primitive
from mynn.ops import scan

RULES: dict[Primitive, Rule] = {
    scan.cumsum: Scan("add", zero, order=same_order),
    scan.cumprod: Scan("mul", one, order=same_order, pieces=False),
    scan.cummax: Scan("maximum", least, order=same_order),
    scan.cummin: Scan("minimum", largest, order=same_order),
}
