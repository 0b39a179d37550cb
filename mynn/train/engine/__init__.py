"""What runs the steps of a training."""
