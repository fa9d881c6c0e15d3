"""Signs of a stale model: what it meets now beside what it met in training."""
