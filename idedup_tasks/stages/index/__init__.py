"""Index: immutable FAISS shards that hold the vector of every active image."""
