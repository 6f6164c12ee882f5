"""Results as files: written once, verified on reading, and open to xarray and any viewer."""
