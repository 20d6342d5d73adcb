INSERT INTO duplicate_pair (
    collection, image_a, image_b, relation, method, score, threshold, is_match, is_keeper_match
)
SELECT
    CAST(:collection AS TEXT), image_a, image_b, relation, method, score, threshold, is_match,
    is_keeper_match
FROM staged_pair
EXCEPT
SELECT
    collection, image_a, image_b, relation, method, score, threshold, is_match,
    is_keeper_match
FROM duplicate_pair
WHERE collection = :collection
ON CONFLICT (collection, image_a, image_b) DO UPDATE SET
    relation = excluded.relation,
    method = excluded.method,
    score = excluded.score,
    threshold = excluded.threshold,
    is_match = excluded.is_match,
    is_keeper_match = excluded.is_keeper_match;
