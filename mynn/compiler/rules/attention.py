"""Records of attention and its gradient."""

from __future__ import annotations

from mynn.compiler.rules.record import Attention, AttentionGradient, Rule
from mynn.core.primitive import Primitive
from mynn.ops import attention

RULES: dict[Primitive, Rule] = {
    attention.attention: Attention(),
    attention.gradient: AttentionGradient(),
}
