-- The evidence edges: each duplicate with its match, and with its keeper. Two images that name
-- each other are one pair, and where one is both match and keeper the match says how.
CREATE TEMPORARY TABLE staged_pair AS
SELECT
    image_a,
    image_b,
    min(relation) AS relation,
    min(method) AS method,
    coalesce(max(score), max(score_to_keeper)) AS score,
    min(threshold) AS threshold,
    max(is_match) = 1 AS is_match,
    max(is_keeper_match) = 1 AS is_keeper_match
FROM (
    SELECT
        CASE WHEN image_id < matched_id THEN image_id ELSE matched_id END AS image_a,
        CASE WHEN image_id < matched_id THEN matched_id ELSE image_id END AS image_b,
        relation,
        method,
        score,
        threshold,
        NULL AS score_to_keeper,
        1 AS is_match,
        0 AS is_keeper_match
    FROM staged
    WHERE verdict = 'duplicate' AND matched_id IS NOT NULL
    UNION ALL
    SELECT
        CASE WHEN staged.image_id < staged_group.keeper_id
            THEN staged.image_id ELSE staged_group.keeper_id END,
        CASE WHEN staged.image_id < staged_group.keeper_id
            THEN staged_group.keeper_id ELSE staged.image_id END,
        NULL,
        NULL,
        NULL,
        NULL,
        staged.score_to_keeper,
        0,
        1
    FROM staged
    INNER JOIN staged_group ON staged.group_id = staged_group.group_id
    WHERE staged.verdict = 'duplicate'
) AS edge
GROUP BY image_a, image_b;

CREATE UNIQUE INDEX staged_pair_id ON staged_pair (image_a, image_b);
