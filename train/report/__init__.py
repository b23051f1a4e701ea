"""Runs side by side on one HTML page: ``python -m train.report``."""
