"""The training app on dali_pipes."""
