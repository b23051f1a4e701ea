"""Loaders of training and validation clips from the options, and the generated data sets."""
