"""`backward`, `autograd.grad` and optimisers on a tape, through all that it ran."""
