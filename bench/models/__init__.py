"""Measures training, export and the graph."""
