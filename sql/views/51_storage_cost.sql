-- What duplicates and variants of each relation hold, and what keeping the reclaimable ones costs a
-- month, at the collection's price per 10^9 bytes.
CREATE VIEW storage_cost AS
SELECT
    collection.name AS collection,
    image_state.relation,
    count(*) AS images,
    CAST(sum(image_state.reclaimable_bytes) AS BIGINT) AS reclaimable_bytes,
    CAST(sum(image_state.reclaimable_bytes) AS DOUBLE PRECISION) / 1000000000 AS reclaimable_gb,
    collection.price_per_gb_month,
    CAST(sum(image_state.reclaimable_bytes) AS DOUBLE PRECISION) / 1000000000
    * collection.price_per_gb_month AS cost_per_month,
    collection.currency
FROM collection
INNER JOIN image_state ON collection.name = image_state.collection
WHERE image_state.relation IS NOT NULL
GROUP BY
    collection.name, image_state.relation, collection.price_per_gb_month, collection.currency;
