"""Who watches a training run."""
