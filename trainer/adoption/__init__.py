"""Takes over models that were trained elsewhere."""
