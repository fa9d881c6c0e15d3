"""Sends calls on time, from as many processes as it takes."""
