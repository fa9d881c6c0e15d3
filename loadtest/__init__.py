"""Measures a server's latency and memory under load, from outside."""
