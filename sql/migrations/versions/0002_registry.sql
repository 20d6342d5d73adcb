-- The registry of descriptors, and what benchmarks measured. SQLite cannot drop a constraint, so the
-- table is made anew: a registered descriptor need not be used by any collection.
CREATE TABLE model_0002 (
    collection TEXT NOT NULL,
    model_id TEXT NOT NULL,
    descriptor TEXT NOT NULL,
    dim INTEGER NOT NULL,
    threshold_pair DOUBLE PRECISION NOT NULL,
    threshold_candidate DOUBLE PRECISION NOT NULL,
    threshold_cut DOUBLE PRECISION NOT NULL,
    phash_distance INTEGER NOT NULL,
    registered_at TIMESTAMPTZ,
    location TEXT,
    card JSONB,
    CONSTRAINT model_key PRIMARY KEY (collection, model_id)
);

INSERT INTO model_0002 (
    collection, model_id, descriptor, dim, threshold_pair, threshold_candidate, threshold_cut,
    phash_distance
)
SELECT
    collection, model_id, descriptor, dim, threshold_pair, threshold_candidate, threshold_cut,
    phash_distance
FROM model;

DROP TABLE model;

ALTER TABLE model_0002 RENAME TO model;

CREATE TABLE benchmark_result (
    benchmark_id TEXT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL,
    dataset TEXT NOT NULL,
    method TEXT NOT NULL,
    model_id TEXT,
    measure TEXT NOT NULL,
    value DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (benchmark_id, method, measure)
);
