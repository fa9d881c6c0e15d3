"""Sends calls on time."""
