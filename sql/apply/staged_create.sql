-- The results and pairs as they should be, visible to this connection only.
CREATE TEMPORARY TABLE staged (
    image_id TEXT NOT NULL PRIMARY KEY,
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
    group_id TEXT,
    relation TEXT,
    method TEXT,
    keeper_id TEXT,
    score DOUBLE PRECISION,
    overlap DOUBLE PRECISION,
    keeper_overlap DOUBLE PRECISION,
    changed DOUBLE PRECISION,
    place TEXT,
    why TEXT
);

CREATE TEMPORARY TABLE staged_look (
    image_a TEXT NOT NULL,
    image_b TEXT NOT NULL,
    relation TEXT NOT NULL,
    score DOUBLE PRECISION NOT NULL,
    overlap_a DOUBLE PRECISION NOT NULL,
    overlap_b DOUBLE PRECISION NOT NULL,
    changed DOUBLE PRECISION NOT NULL
);
