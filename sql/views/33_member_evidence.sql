-- Why are these images one group? One row per member: what it matched, how well, by what method.
CREATE VIEW member_evidence AS
SELECT
    group_member.collection,
    group_member.group_id,
    group_member.image_id,
    image.key,
    image.uri,
    image.arrival,
    image.bytes,
    image.width,
    image.height,
    image.format,
    group_member.is_keeper,
    group_member.relation,
    group_member.method,
    group_member.score,
    group_member.threshold,
    group_member.matched_id,
    matched.key AS matched_key,
    group_member.keeper_id,
    keeper.key AS keeper_key,
    group_member.score_to_keeper,
    -- Scores have four decimals: half of the last one stands for how binary fractions are rounded.
    -- The same in idedup_tasks/lake/results.py.
    coalesce(
        group_member.relation = 'near'
        AND (
            group_member.score - group_member.threshold < collection.uncertain_margin - 0.00005
            OR group_member.score_to_keeper - group_member.threshold
            < collection.uncertain_margin - 0.00005
        ),
        FALSE
    ) AS uncertain
FROM group_member
INNER JOIN collection ON group_member.collection = collection.name
INNER JOIN image
    ON
        group_member.collection = image.collection
        AND group_member.image_id = image.image_id
LEFT JOIN image AS matched
    ON
        group_member.collection = matched.collection
        AND group_member.matched_id = matched.image_id
LEFT JOIN image AS keeper
    ON
        group_member.collection = keeper.collection
        AND group_member.keeper_id = keeper.image_id;
