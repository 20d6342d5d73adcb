"""Prefilter: copies with the same bytes, and perceptual twins, collapse onto the earliest."""
