"""Measures the server and the load tester."""
