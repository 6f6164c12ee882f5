"""Array backends: the same operators on NumPy, torch and JAX."""

from protein_lab.backends.base import Array, Backend, available_backends, get_backend

__all__ = ["Array", "Backend", "available_backends", "get_backend"]
