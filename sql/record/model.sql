-- A registered descriptor: its row has no collection. Registering again brings it up to date.
INSERT INTO model (
    collection, model_id, descriptor, dim, threshold_pair, threshold_candidate, threshold_cut,
    phash_distance, registered_at, location, card
)
VALUES (
    '', :model_id, :descriptor, :dim, :threshold_pair, :threshold_candidate, :threshold_cut,
    :phash_distance, :registered_at, :location, :card
)
ON CONFLICT (collection, model_id) DO UPDATE SET
    descriptor = excluded.descriptor,
    dim = excluded.dim,
    threshold_pair = excluded.threshold_pair,
    threshold_candidate = excluded.threshold_candidate,
    threshold_cut = excluded.threshold_cut,
    phash_distance = excluded.phash_distance,
    registered_at = excluded.registered_at,
    location = excluded.location,
    card = excluded.card;
