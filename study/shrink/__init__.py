"""Finds the smallest model that is good enough."""
