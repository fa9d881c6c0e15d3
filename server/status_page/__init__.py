"""The status page: what runs, how fast, and in how many bytes; plain HTML and one script."""
