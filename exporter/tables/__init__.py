"""Rows of a table as they are stored."""
