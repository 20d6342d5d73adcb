INSERT INTO duplicate_pair (
    collection, image_a, image_b, relation, score, overlap_a, overlap_b, changed, is_keeper_pair
)
SELECT
    CAST(:collection AS TEXT), image_a, image_b, relation, score, overlap_a, overlap_b, changed,
    is_keeper_pair
FROM staged_pair
EXCEPT
SELECT
    collection, image_a, image_b, relation, score, overlap_a, overlap_b, changed,
    is_keeper_pair
FROM duplicate_pair
WHERE collection = :collection
ON CONFLICT (collection, image_a, image_b) DO UPDATE SET
    relation = excluded.relation,
    score = excluded.score,
    overlap_a = excluded.overlap_a,
    overlap_b = excluded.overlap_b,
    changed = excluded.changed,
    is_keeper_pair = excluded.is_keeper_pair;
