"""Files that others may have made, and files that must be whole."""
