"""Who waits, and who goes next."""
