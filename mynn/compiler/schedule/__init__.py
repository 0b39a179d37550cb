"""Schedules: the loops of each kind of kernel, written over the loop IR."""
