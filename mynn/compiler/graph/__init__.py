"""From graph to graph: what is simplified, decomposed, laid out; and what is known of a graph."""
