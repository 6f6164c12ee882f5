"""Learning from real structures: the corpus, batches, losses and the trainer."""
