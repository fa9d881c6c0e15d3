"""Watches the server from outside."""
