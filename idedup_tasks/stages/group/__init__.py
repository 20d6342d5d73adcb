"""Group: candidate pairs, connected components, a hierarchical cut, keepers and evidence."""
