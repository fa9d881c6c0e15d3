"""What `make` checks beside the tests."""
