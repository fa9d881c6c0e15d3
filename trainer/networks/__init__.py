"""Vectors to a logit."""
