"""Reports over results, and later experiments over requests."""
