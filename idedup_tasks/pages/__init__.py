"""What people look at: parts of the pages that report, explanation and benchmarks write."""
