"""From graph to groups of nodes, a group a kernel."""
