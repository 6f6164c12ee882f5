"""Optimizers: strategies with explicit state over one search space and one or more objectives."""
