"""Building blocks of neural operators: pure functions ``f(backend, params, name, x, ...)``."""
