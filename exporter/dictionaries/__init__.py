"""Known ids as arrays, and their rows as nodes of a graph."""
