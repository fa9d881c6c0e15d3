"""Clients that mean ill: what they get, and what it costs everybody else."""
