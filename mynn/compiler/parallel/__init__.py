"""Shares of workers, and where they wait for each other."""
