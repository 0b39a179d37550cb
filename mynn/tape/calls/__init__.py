"""What is recorded: calls, what they give, and the step of the tree that they lead to."""
