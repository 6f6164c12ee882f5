"""From a request to designs: blueprints, folds, sampling, refinement and selection."""
