"""Figures out: metrics, memory, the HTTP port."""
