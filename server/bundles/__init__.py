"""Bundles from the disk to an engine: checked, tried in a process of their own, verified and warm."""
