"""The quantiser shipped with a descriptor: k-means cells over its training photographs."""

import numpy as np

CELLS = 2048


def train_quantiser(vectors: np.ndarray, cells: int = CELLS, seed: int = 0) -> np.ndarray:
    """Spherical k-means of unit vectors float32 (n, dim): unit centroids float16 (cells, dim).

    There are fewer cells than asked for where there are fewer than four vectors for each.
    """
    import faiss

    cells = max(1, min(cells, len(vectors) // 4))
    kmeans = faiss.Kmeans(
        vectors.shape[1],
        cells,
        niter=25,
        seed=seed,
        spherical=True,
        min_points_per_centroid=1,
        max_points_per_centroid=1024,
    )
    kmeans.train(np.ascontiguousarray(vectors, np.float32))
    return np.asarray(kmeans.centroids, np.float16)
