"""Search spaces: what an optimizer changes, and what comes of it."""
