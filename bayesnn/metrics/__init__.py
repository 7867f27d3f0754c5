"""Scores of a predictive against the truth: how likely, how calibrated, how well it detects."""
