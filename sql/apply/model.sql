INSERT INTO model (
    collection, model_id, descriptor, dim, threshold_pair, threshold_candidate, threshold_cut,
    phash_distance
)
VALUES (
    :collection, :model_id, :descriptor, :dim, :threshold_pair, :threshold_candidate,
    :threshold_cut, :phash_distance
)
ON CONFLICT (collection, model_id) DO UPDATE SET
    descriptor = excluded.descriptor,
    dim = excluded.dim,
    threshold_pair = excluded.threshold_pair,
    threshold_candidate = excluded.threshold_candidate,
    threshold_cut = excluded.threshold_cut,
    phash_distance = excluded.phash_distance;
