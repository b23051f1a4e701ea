"""From options to loaders of training and validation clips, and the data sets that are made here."""
