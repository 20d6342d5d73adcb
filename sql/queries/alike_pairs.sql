-- Pairs that are alike and no more, over the whole collection; those nearest to being more first.
SELECT
    *,
    count(*) OVER () AS pairs
FROM alike_pairs
WHERE collection = :collection
ORDER BY score DESC, image_a, image_b
LIMIT :limit;
