"""Keeps logs encoded, in memory or on disk."""
