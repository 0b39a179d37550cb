"""What calls write: parameters, rows of tensors, and tensors that get other memory."""
