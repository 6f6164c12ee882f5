"""Neural operators and their weights."""
