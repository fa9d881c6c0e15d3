"""Reads logs: one format a file."""
