"""Turns what was recorded into results, and judges them."""
