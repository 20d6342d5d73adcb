"""Match: candidate pairs of active images by hash and vectors, each one looked at."""
