"""Puts this folder on the path, so that tests of every kind can import what stands in it."""
