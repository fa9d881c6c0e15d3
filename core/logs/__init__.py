"""Logs of real rows, read by schema into raw ids, dense values and labels."""
