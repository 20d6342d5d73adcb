-- The keeper first, then duplicates, then variants; of each those that were seen most surely.
-- Where not all have room, duplicates and variants get it by turns: neither crowds the other out.
SELECT *
FROM (
    SELECT *
    FROM member_evidence
    WHERE collection = :collection AND group_id = :group_id
    ORDER BY
        CASE verdict WHEN 'keeper' THEN 1 ELSE 2 END,
        ROW_NUMBER() OVER (PARTITION BY verdict ORDER BY score DESC, image_id),
        verdict
    LIMIT :limit
) AS shown
ORDER BY
    CASE verdict WHEN 'keeper' THEN 1 WHEN 'duplicate' THEN 2 ELSE 3 END,
    score DESC,
    image_id;
