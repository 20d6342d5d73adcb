"""Report: the collection's result as one file, the warehouse brought up to it, a page to read."""
