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
    group_member.score_to_keeper
FROM group_member
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
