"""Products: which schedule, with which operands copied first."""
