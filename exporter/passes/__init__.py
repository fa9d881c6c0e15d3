"""One change of the graph a file."""
