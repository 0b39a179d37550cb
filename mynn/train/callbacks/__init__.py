"""What a user has done between epochs and batches."""
