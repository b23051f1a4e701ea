"""The processes of a training, how it is stopped, its progress, and the names of its files."""
