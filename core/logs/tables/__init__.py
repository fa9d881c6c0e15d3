"""Files as tables of raw values, a batch of rows at a time."""
