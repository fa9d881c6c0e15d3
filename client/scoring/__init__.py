"""Scoring a log: does it fit the model, which rows, how good are the scores."""
