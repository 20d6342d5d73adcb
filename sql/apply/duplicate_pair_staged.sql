-- Which of the pairs that were looked at are a member and its keeper.
CREATE TEMPORARY TABLE staged_pair AS
SELECT
    staged_look.image_a,
    staged_look.image_b,
    staged_look.relation,
    staged_look.score,
    staged_look.overlap_a,
    staged_look.overlap_b,
    staged_look.changed,
    coalesce(a.keeper_id = b.image_id, FALSE) OR coalesce(b.keeper_id = a.image_id, FALSE)
        AS is_keeper_pair
FROM staged_look
LEFT JOIN staged AS a ON staged_look.image_a = a.image_id
LEFT JOIN staged AS b ON staged_look.image_b = b.image_id;

CREATE UNIQUE INDEX staged_pair_id ON staged_pair (image_a, image_b);
