"""What a program means: the graph of primitives, its interpreter, its gradients."""
