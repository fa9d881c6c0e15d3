"""Turns a checkpoint into a bundle, and proves the bundle equals the checkpoint."""
