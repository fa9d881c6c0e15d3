"""Ids to rows to vectors."""
