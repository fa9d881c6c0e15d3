"""Tells the truth about latency and memory under load. Knows no server from the inside."""
