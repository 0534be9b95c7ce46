"""Ground truth: synthetic specimens whose defects are known."""
