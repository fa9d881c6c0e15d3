"""Our own service, `tablefold.v1`."""
