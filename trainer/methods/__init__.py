"""Ways to build row maps, and how they make a method together with a table."""
