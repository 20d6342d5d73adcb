-- Why are these images one group? One row per member: what was seen of it and its keeper.
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
    image.verdict,
    group_member.relation,
    group_member.method,
    group_member.score,
    group_member.overlap,
    group_member.keeper_overlap,
    group_member.changed,
    group_member.place,
    group_member.why,
    group_member.keeper_id,
    keeper.key AS keeper_key,
    keeper.uri AS keeper_uri
FROM group_member
INNER JOIN image
    ON
        group_member.collection = image.collection
        AND group_member.image_id = image.image_id
INNER JOIN image AS keeper
    ON
        group_member.collection = keeper.collection
        AND group_member.keeper_id = keeper.image_id;
