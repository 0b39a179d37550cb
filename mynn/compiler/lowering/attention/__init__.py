"""Attention, some queries at a time."""
