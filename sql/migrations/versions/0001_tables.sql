-- The tables. Read by PostgreSQL and SQLite alike: SQLite keeps a TIMESTAMPTZ as UTC text
-- 'YYYY-MM-DD HH:MM:SS.ffffff' and a JSONB as text. Each statement ends with ; at a line's end.
CREATE TABLE collection (
    name TEXT NOT NULL PRIMARY KEY,
    source TEXT NOT NULL,
    period TEXT NOT NULL,
    price_per_gb_month DOUBLE PRECISION NOT NULL,
    currency TEXT NOT NULL,
    variants_reclaimable BOOLEAN NOT NULL,
    model_id TEXT,
    run_id TEXT,
    versions_read JSONB,
    applied_at TIMESTAMPTZ
);

-- A registered descriptor need not be used by any collection: its row names none.
CREATE TABLE model (
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
    PRIMARY KEY (collection, model_id)
);

CREATE TABLE run (
    collection TEXT NOT NULL REFERENCES collection (name),
    run_id TEXT NOT NULL,
    stage TEXT NOT NULL,
    state TEXT NOT NULL,
    tries INTEGER NOT NULL,
    window_start TIMESTAMPTZ,
    window_end TIMESTAMPTZ,
    started_at TIMESTAMPTZ NOT NULL,
    seconds DOUBLE PRECISION NOT NULL,
    rows_in BIGINT,
    rows_out BIGINT,
    images BIGINT,
    images_per_second DOUBLE PRECISION,
    counts JSONB,
    warnings JSONB,
    versions_read JSONB,
    versions_written JSONB,
    published_at TIMESTAMPTZ,
    error TEXT,
    PRIMARY KEY (collection, run_id, stage)
);

CREATE INDEX run_by_start ON run (collection, started_at);

CREATE TABLE image (
    collection TEXT NOT NULL REFERENCES collection (name),
    image_id TEXT NOT NULL,
    arrival TEXT NOT NULL,
    period_start TIMESTAMPTZ,
    key TEXT NOT NULL,
    prefix TEXT NOT NULL,
    uri TEXT NOT NULL,
    arrived_at TIMESTAMPTZ NOT NULL,
    bytes BIGINT NOT NULL,
    sha256 TEXT,
    width INTEGER,
    height INTEGER,
    format TEXT,
    taken_at TIMESTAMPTZ,
    low_information BOOLEAN,
    status TEXT NOT NULL,
    reason_code TEXT,
    reason TEXT,
    verdict TEXT,
    PRIMARY KEY (collection, image_id)
);

CREATE INDEX image_by_arrival ON image (collection, arrival);

-- Files that could not be read are few, and two views look for nothing else.
CREATE INDEX image_rejected ON image (collection, arrived_at) WHERE status = 'rejected';

CREATE TABLE duplicate_group (
    collection TEXT NOT NULL REFERENCES collection (name),
    group_id TEXT NOT NULL,
    keeper_id TEXT NOT NULL,
    size BIGINT NOT NULL,
    bytes BIGINT NOT NULL,
    reclaimable_bytes BIGINT NOT NULL,
    duplicates BIGINT NOT NULL,
    variants BIGINT NOT NULL,
    exact BIGINT NOT NULL,
    same BIGINT NOT NULL,
    crop BIGINT NOT NULL,
    inside BIGINT NOT NULL,
    edited BIGINT NOT NULL,
    first_arrival TEXT NOT NULL,
    last_arrival TEXT NOT NULL,
    PRIMARY KEY (collection, group_id)
);

CREATE INDEX duplicate_group_by_size ON duplicate_group (collection, size);

CREATE TABLE group_member (
    collection TEXT NOT NULL,
    image_id TEXT NOT NULL,
    group_id TEXT NOT NULL,
    is_keeper BOOLEAN NOT NULL,
    relation TEXT,
    method TEXT,
    keeper_id TEXT NOT NULL,
    score DOUBLE PRECISION,
    overlap DOUBLE PRECISION,
    keeper_overlap DOUBLE PRECISION,
    changed DOUBLE PRECISION,
    place TEXT,
    why TEXT,
    PRIMARY KEY (collection, image_id),
    FOREIGN KEY (collection, image_id) REFERENCES image (collection, image_id),
    FOREIGN KEY (collection, group_id) REFERENCES duplicate_group (collection, group_id)
);

CREATE INDEX group_member_by_group ON group_member (collection, group_id);

CREATE TABLE duplicate_pair (
    collection TEXT NOT NULL,
    image_a TEXT NOT NULL,
    image_b TEXT NOT NULL,
    relation TEXT NOT NULL,
    score DOUBLE PRECISION NOT NULL,
    overlap_a DOUBLE PRECISION NOT NULL,
    overlap_b DOUBLE PRECISION NOT NULL,
    changed DOUBLE PRECISION NOT NULL,
    is_keeper_pair BOOLEAN NOT NULL,
    PRIMARY KEY (collection, image_a, image_b),
    FOREIGN KEY (collection, image_a) REFERENCES image (collection, image_id),
    FOREIGN KEY (collection, image_b) REFERENCES image (collection, image_id),
    CHECK (image_a < image_b)
);

CREATE INDEX duplicate_pair_by_image_b ON duplicate_pair (collection, image_b);

CREATE TABLE quality_result (
    collection TEXT NOT NULL REFERENCES collection (name),
    run_id TEXT NOT NULL,
    stage TEXT NOT NULL,
    rule TEXT NOT NULL,
    severity TEXT NOT NULL,
    success BOOLEAN NOT NULL,
    observed TEXT NOT NULL,
    expected TEXT NOT NULL,
    checked_at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (collection, run_id, stage, rule)
);

CREATE INDEX quality_result_by_rule ON quality_result (collection, stage, rule, checked_at);

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
