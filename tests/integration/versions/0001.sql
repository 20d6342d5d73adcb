-- A warehouse at schema version 0001 as a release left it: its views by their columns, and rows in
-- each table.
CREATE VIEW collection_totals AS
SELECT
    CAST(NULL AS TEXT) AS collection,
    CAST(NULL AS TEXT) AS source,
    CAST(NULL AS TEXT) AS period,
    CAST(NULL AS TEXT) AS model_id,
    CAST(NULL AS TEXT) AS run_id,
    CAST(NULL AS TIMESTAMP WITH TIME ZONE) AS applied_at,
    CAST(NULL AS BIGINT) AS images,
    CAST(NULL AS BIGINT) AS active,
    CAST(NULL AS BIGINT) AS collapsed,
    CAST(NULL AS BIGINT) AS rejected,
    CAST(NULL AS BIGINT) AS unique_images,
    CAST(NULL AS BIGINT) AS groups,
    CAST(NULL AS BIGINT) AS duplicates,
    CAST(NULL AS BIGINT) AS duplicates_exact,
    CAST(NULL AS BIGINT) AS duplicates_perceptual,
    CAST(NULL AS BIGINT) AS duplicates_near,
    CAST(NULL AS DOUBLE PRECISION) AS duplicate_rate,
    CAST(NULL AS BIGINT) AS bytes,
    CAST(NULL AS BIGINT) AS reclaimable_bytes,
    CAST(NULL AS BIGINT) AS reclaimable_exact,
    CAST(NULL AS BIGINT) AS reclaimable_perceptual,
    CAST(NULL AS BIGINT) AS reclaimable_near,
    CAST(NULL AS DOUBLE PRECISION) AS price_per_gb_month,
    CAST(NULL AS DOUBLE PRECISION) AS cost_per_month,
    CAST(NULL AS DOUBLE PRECISION) AS savable_per_month;

CREATE VIEW duplicates_by_format AS
SELECT
    CAST(NULL AS TEXT) AS collection,
    CAST(NULL AS TEXT) AS format,
    CAST(NULL AS BIGINT) AS images,
    CAST(NULL AS BIGINT) AS decoded,
    CAST(NULL AS BIGINT) AS rejected,
    CAST(NULL AS BIGINT) AS unique_images,
    CAST(NULL AS BIGINT) AS keepers,
    CAST(NULL AS BIGINT) AS duplicates,
    CAST(NULL AS BIGINT) AS duplicates_exact,
    CAST(NULL AS BIGINT) AS duplicates_perceptual,
    CAST(NULL AS BIGINT) AS duplicates_near,
    CAST(NULL AS DOUBLE PRECISION) AS duplicate_rate,
    CAST(NULL AS BIGINT) AS bytes,
    CAST(NULL AS BIGINT) AS reclaimable_bytes,
    CAST(NULL AS BIGINT) AS reclaimable_exact,
    CAST(NULL AS BIGINT) AS reclaimable_perceptual,
    CAST(NULL AS BIGINT) AS reclaimable_near;

CREATE VIEW duplicates_by_period AS
SELECT
    CAST(NULL AS TEXT) AS collection,
    CAST(NULL AS TEXT) AS arrival,
    CAST(NULL AS TIMESTAMP WITH TIME ZONE) AS period_start,
    CAST(NULL AS BIGINT) AS images,
    CAST(NULL AS BIGINT) AS decoded,
    CAST(NULL AS BIGINT) AS rejected,
    CAST(NULL AS BIGINT) AS unique_images,
    CAST(NULL AS BIGINT) AS keepers,
    CAST(NULL AS BIGINT) AS duplicates,
    CAST(NULL AS BIGINT) AS duplicates_exact,
    CAST(NULL AS BIGINT) AS duplicates_perceptual,
    CAST(NULL AS BIGINT) AS duplicates_near,
    CAST(NULL AS DOUBLE PRECISION) AS duplicate_rate,
    CAST(NULL AS BIGINT) AS bytes,
    CAST(NULL AS BIGINT) AS reclaimable_bytes,
    CAST(NULL AS BIGINT) AS reclaimable_exact,
    CAST(NULL AS BIGINT) AS reclaimable_perceptual,
    CAST(NULL AS BIGINT) AS reclaimable_near;

CREATE VIEW duplicates_by_prefix AS
SELECT
    CAST(NULL AS TEXT) AS collection,
    CAST(NULL AS TEXT) AS prefix,
    CAST(NULL AS BIGINT) AS images,
    CAST(NULL AS BIGINT) AS decoded,
    CAST(NULL AS BIGINT) AS rejected,
    CAST(NULL AS BIGINT) AS unique_images,
    CAST(NULL AS BIGINT) AS keepers,
    CAST(NULL AS BIGINT) AS duplicates,
    CAST(NULL AS BIGINT) AS duplicates_exact,
    CAST(NULL AS BIGINT) AS duplicates_perceptual,
    CAST(NULL AS BIGINT) AS duplicates_near,
    CAST(NULL AS DOUBLE PRECISION) AS duplicate_rate,
    CAST(NULL AS BIGINT) AS bytes,
    CAST(NULL AS BIGINT) AS reclaimable_bytes,
    CAST(NULL AS BIGINT) AS reclaimable_exact,
    CAST(NULL AS BIGINT) AS reclaimable_perceptual,
    CAST(NULL AS BIGINT) AS reclaimable_near;

CREATE VIEW group_profile AS
SELECT
    CAST(NULL AS TEXT) AS collection,
    CAST(NULL AS TEXT) AS group_id,
    CAST(NULL AS TEXT) AS relation,
    CAST(NULL AS BIGINT) AS size,
    CAST(NULL AS BIGINT) AS bytes,
    CAST(NULL AS BIGINT) AS reclaimable_bytes,
    CAST(NULL AS BIGINT) AS exact,
    CAST(NULL AS BIGINT) AS perceptual,
    CAST(NULL AS BIGINT) AS near,
    CAST(NULL AS TEXT) AS first_arrival,
    CAST(NULL AS TEXT) AS last_arrival,
    CAST(NULL AS TEXT) AS keeper_id,
    CAST(NULL AS TEXT) AS keeper_key,
    CAST(NULL AS TEXT) AS keeper_uri,
    CAST(NULL AS DOUBLE PRECISION) AS cost_per_month;

CREATE VIEW group_sizes AS
SELECT
    CAST(NULL AS TEXT) AS collection,
    CAST(NULL AS BIGINT) AS size,
    CAST(NULL AS TEXT) AS relation,
    CAST(NULL AS BIGINT) AS groups,
    CAST(NULL AS BIGINT) AS images,
    CAST(NULL AS BIGINT) AS reclaimable_bytes;

CREATE VIEW image_state AS
SELECT
    CAST(NULL AS TEXT) AS collection,
    CAST(NULL AS TEXT) AS arrival,
    CAST(NULL AS TIMESTAMP WITH TIME ZONE) AS period_start,
    CAST(NULL AS TEXT) AS image_id,
    CAST(NULL AS TEXT) AS key,
    CAST(NULL AS TEXT) AS prefix,
    CAST(NULL AS TEXT) AS uri,
    CAST(NULL AS TIMESTAMP WITH TIME ZONE) AS arrived_at,
    CAST(NULL AS BIGINT) AS bytes,
    CAST(NULL AS INTEGER) AS width,
    CAST(NULL AS INTEGER) AS height,
    CAST(NULL AS TEXT) AS format,
    CAST(NULL AS TEXT) AS status,
    CAST(NULL AS TEXT) AS reason_code,
    CAST(NULL AS TEXT) AS verdict,
    CAST(NULL AS TEXT) AS group_id,
    CAST(NULL AS TEXT) AS relation,
    CAST(NULL AS BIGINT) AS reclaimable_bytes;

CREATE VIEW member_evidence AS
SELECT
    CAST(NULL AS TEXT) AS collection,
    CAST(NULL AS TEXT) AS group_id,
    CAST(NULL AS TEXT) AS image_id,
    CAST(NULL AS TEXT) AS key,
    CAST(NULL AS TEXT) AS uri,
    CAST(NULL AS TEXT) AS arrival,
    CAST(NULL AS BIGINT) AS bytes,
    CAST(NULL AS INTEGER) AS width,
    CAST(NULL AS INTEGER) AS height,
    CAST(NULL AS TEXT) AS format,
    CAST(NULL AS BOOLEAN) AS is_keeper,
    CAST(NULL AS TEXT) AS relation,
    CAST(NULL AS TEXT) AS method,
    CAST(NULL AS DOUBLE PRECISION) AS score,
    CAST(NULL AS DOUBLE PRECISION) AS threshold,
    CAST(NULL AS TEXT) AS matched_id,
    CAST(NULL AS TEXT) AS matched_key,
    CAST(NULL AS TEXT) AS keeper_id,
    CAST(NULL AS TEXT) AS keeper_key,
    CAST(NULL AS DOUBLE PRECISION) AS score_to_keeper;

CREATE VIEW quality_open AS
SELECT
    CAST(NULL AS TEXT) AS collection,
    CAST(NULL AS TEXT) AS stage,
    CAST(NULL AS TEXT) AS rule,
    CAST(NULL AS TEXT) AS severity,
    CAST(NULL AS TEXT) AS run_id,
    CAST(NULL AS TIMESTAMP WITH TIME ZONE) AS checked_at,
    CAST(NULL AS TIMESTAMP WITH TIME ZONE) AS window_start,
    CAST(NULL AS TIMESTAMP WITH TIME ZONE) AS window_end,
    CAST(NULL AS TEXT) AS observed,
    CAST(NULL AS TEXT) AS expected;

CREATE VIEW quality_over_time AS
SELECT
    CAST(NULL AS TEXT) AS collection,
    CAST(NULL AS TEXT) AS stage,
    CAST(NULL AS TEXT) AS rule,
    CAST(NULL AS TEXT) AS severity,
    CAST(NULL AS TEXT) AS run_id,
    CAST(NULL AS TIMESTAMP WITH TIME ZONE) AS checked_at,
    CAST(NULL AS TIMESTAMP WITH TIME ZONE) AS window_start,
    CAST(NULL AS TIMESTAMP WITH TIME ZONE) AS window_end,
    CAST(NULL AS BOOLEAN) AS success,
    CAST(NULL AS TEXT) AS observed,
    CAST(NULL AS TEXT) AS expected,
    CAST(NULL AS BIGINT) AS age;

CREATE VIEW rejects_by_reason AS
SELECT
    CAST(NULL AS TEXT) AS collection,
    CAST(NULL AS TEXT) AS arrival,
    CAST(NULL AS TIMESTAMP WITH TIME ZONE) AS period_start,
    CAST(NULL AS TEXT) AS reason_code,
    CAST(NULL AS BIGINT) AS images,
    CAST(NULL AS BIGINT) AS bytes;

CREATE VIEW run_health AS
SELECT
    CAST(NULL AS TEXT) AS collection,
    CAST(NULL AS TEXT) AS run_id,
    CAST(NULL AS TEXT) AS stage,
    CAST(NULL AS INTEGER) AS stage_number,
    CAST(NULL AS TEXT) AS state,
    CAST(NULL AS INTEGER) AS tries,
    CAST(NULL AS TIMESTAMP WITH TIME ZONE) AS window_start,
    CAST(NULL AS TIMESTAMP WITH TIME ZONE) AS window_end,
    CAST(NULL AS TIMESTAMP WITH TIME ZONE) AS started_at,
    CAST(NULL AS TIMESTAMP WITH TIME ZONE) AS published_at,
    CAST(NULL AS DOUBLE PRECISION) AS seconds,
    CAST(NULL AS BIGINT) AS rows_in,
    CAST(NULL AS BIGINT) AS rows_out,
    CAST(NULL AS BIGINT) AS images,
    CAST(NULL AS DOUBLE PRECISION) AS images_per_second,
    CAST(NULL AS JSONB) AS warnings,
    CAST(NULL AS TEXT) AS error,
    CAST(NULL AS BIGINT) AS rules,
    CAST(NULL AS BIGINT) AS rules_failed,
    CAST(NULL AS BIGINT) AS rules_warned;

CREATE VIEW storage_cost AS
SELECT
    CAST(NULL AS TEXT) AS collection,
    CAST(NULL AS TEXT) AS relation,
    CAST(NULL AS BIGINT) AS images,
    CAST(NULL AS BIGINT) AS reclaimable_bytes,
    CAST(NULL AS DOUBLE PRECISION) AS reclaimable_gb,
    CAST(NULL AS DOUBLE PRECISION) AS price_per_gb_month,
    CAST(NULL AS DOUBLE PRECISION) AS cost_per_month;

CREATE VIEW top_groups AS
SELECT
    CAST(NULL AS TEXT) AS collection,
    CAST(NULL AS BIGINT) AS rank_by_size,
    CAST(NULL AS BIGINT) AS rank_by_bytes,
    CAST(NULL AS TEXT) AS group_id,
    CAST(NULL AS TEXT) AS relation,
    CAST(NULL AS BIGINT) AS size,
    CAST(NULL AS BIGINT) AS bytes,
    CAST(NULL AS BIGINT) AS reclaimable_bytes,
    CAST(NULL AS BIGINT) AS exact,
    CAST(NULL AS BIGINT) AS perceptual,
    CAST(NULL AS BIGINT) AS near,
    CAST(NULL AS TEXT) AS first_arrival,
    CAST(NULL AS TEXT) AS last_arrival,
    CAST(NULL AS TEXT) AS keeper_id,
    CAST(NULL AS TEXT) AS keeper_key,
    CAST(NULL AS TEXT) AS keeper_uri,
    CAST(NULL AS DOUBLE PRECISION) AS cost_per_month;

INSERT INTO collection VALUES (
    'photos', '/photos', 'day', 0.5, 'model@1', 'scheduled__1', '{"groups": 3, "images": 4}',
    '2026-01-02 01:02:03.000004'
);

INSERT INTO model VALUES ('photos', 'model@1', 'mobilenet', 256, 0.7, 0.65, 0.6, 6);

INSERT INTO run VALUES (
    'photos', 'scheduled__1', 'ingest', 'published', 2, '2026-01-01 00:00:00.000000',
    '2026-01-02 00:00:00.000000', '2026-01-02 01:00:00.000000', 2.5, 3, 2, 3, 1.2,
    '{"decoded": 2, "listed": 3, "rejected": 1}', '["one file is damaged"]', '{}', '{"images": 4}',
    '2026-01-02 01:00:03.000000', NULL
);

INSERT INTO image VALUES
('photos', '01', '2026-01-01', '2026-01-01 00:00:00.000000', 'a/1.jpg', 'a', '/photos/a/1.jpg',
    '2026-01-01 09:00:00.000000', 30, 'd1', 640, 480, 'JPEG', NULL, false, 'active', NULL, NULL,
    'keeper'),
('photos', '02', '2026-01-01', '2026-01-01 00:00:00.000000', 'a/2.jpg', 'a', '/photos/a/2.jpg',
    '2026-01-01 10:00:00.000000', 20, 'd2', 640, 480, 'JPEG', NULL, false, 'active', NULL, NULL,
    'duplicate'),
('photos', '03', '2026-01-01', '2026-01-01 00:00:00.000000', '3.jpg', '', '/photos/3.jpg',
    '2026-01-01 11:00:00.000000', 10, NULL, NULL, NULL, NULL, NULL, NULL, 'rejected', 'damaged',
    'cannot be read', NULL);

INSERT INTO duplicate_group VALUES (
    'photos', '01', '01', 2, 50, 20, 0, 0, 1, '2026-01-01', '2026-01-01'
);

INSERT INTO group_member VALUES
('photos', '01', '01', true, NULL, NULL, NULL, NULL, NULL, '01', NULL),
('photos', '02', '01', false, 'near', 'model@1', '01', 0.81, 0.65, '01', 0.81);

INSERT INTO duplicate_pair VALUES (
    'photos', '01', '02', 'near', 'model@1', 0.81, 0.65, true, true
);

INSERT INTO quality_result VALUES (
    'photos', 'scheduled__1', 'ingest', 'nothing_lost', 'error', true, '3', '3',
    '2026-01-02 01:00:02.000000'
);
