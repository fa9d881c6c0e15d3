"""Settings that the user left open, chosen by the schema, by the size of the log and by trials."""
