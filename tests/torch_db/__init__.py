"""PyTorch's own sample inputs (`op_db`), for every operation that is there."""
