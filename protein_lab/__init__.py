"""Design proteins with neural operators."""

__version__ = "0.1.0"
