"""The loop IR: its grammar, its meaning."""
