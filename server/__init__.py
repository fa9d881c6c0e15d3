"""Turns requests into probabilities, in batches, within its memory and its deadlines."""
