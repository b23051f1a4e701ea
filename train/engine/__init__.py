"""The training loop, evaluation, and what they keep and write."""
