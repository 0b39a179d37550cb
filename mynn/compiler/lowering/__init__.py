"""From groups to kernels in the loop IR."""
