-- Pairs that were looked at and are alike, but not the same picture: other shots of one thing, one
-- layout with other content. Nothing is a duplicate or a variant by them.
CREATE VIEW alike_pairs AS
SELECT
    duplicate_pair.collection,
    duplicate_pair.image_a,
    a.key AS key_a,
    a.uri AS uri_a,
    duplicate_pair.image_b,
    b.key AS key_b,
    b.uri AS uri_b,
    duplicate_pair.score,
    duplicate_pair.overlap_a,
    duplicate_pair.overlap_b,
    duplicate_pair.changed,
    CASE WHEN a.arrival < b.arrival THEN b.arrival ELSE a.arrival END AS arrival,
    CASE WHEN a.arrival < b.arrival THEN b.period_start ELSE a.period_start END AS period_start
FROM duplicate_pair
INNER JOIN image AS a
    ON
        duplicate_pair.collection = a.collection
        AND duplicate_pair.image_a = a.image_id
INNER JOIN image AS b
    ON
        duplicate_pair.collection = b.collection
        AND duplicate_pair.image_b = b.image_id
WHERE duplicate_pair.relation = 'alike';
