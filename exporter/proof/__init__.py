"""The bundle equals the checkpoint."""
