"""Embed: a descriptor for each active image that lacks one under the collection's model_id."""
