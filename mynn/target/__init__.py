"""What code is made for: the processor, and how arrays lie in memory."""
