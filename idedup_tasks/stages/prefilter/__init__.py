"""Prefilter: copies with the same bytes, and twins by hash and look, collapse onto the earliest."""
