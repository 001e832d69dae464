"""What is learnt: one module per family of tasks, each a loss as a sum and a count, a decoding and metrics."""
