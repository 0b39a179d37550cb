"""Data as users give it, checked."""
