"""Ingest: make the `images` partitions of a window equal to what the source lists."""
