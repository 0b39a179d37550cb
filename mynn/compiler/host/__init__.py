"""Code around the step: the training loop, workers."""
