"""What a GPU makes of the bundles: right, how fast, in how much memory, and how fast when served."""
