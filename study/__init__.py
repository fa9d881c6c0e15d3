"""Says what quality each byte buys, and finds the smallest model that is good enough."""
