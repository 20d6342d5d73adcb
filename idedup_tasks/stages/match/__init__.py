"""Match: candidate pairs of what is there, by hash and by vectors, each one looked at."""
