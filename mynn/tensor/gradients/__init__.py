"""Where tensors came from, and the walk back: nodes, `backward`, hooks, rules."""
