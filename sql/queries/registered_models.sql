-- Descriptors that were registered, the newest first.
SELECT
    model_id, descriptor, dim, threshold_pair, threshold_candidate, threshold_cut, phash_distance,
    registered_at, location, card
FROM model
WHERE collection = ''
ORDER BY registered_at DESC, model_id;
