INSERT INTO staged (
    image_id, arrival, period_start, key, prefix, uri, arrived_at, bytes, sha256, width, height,
    format, taken_at, low_information, status, reason_code, reason, verdict, group_id, relation,
    method, matched_id, score, threshold, keeper_id, score_to_keeper
)
VALUES (
    :image_id, :arrival, :period_start, :key, :prefix, :uri, :arrived_at, :bytes, :sha256, :width,
    :height, :format, :taken_at, :low_information, :status, :reason_code, :reason, :verdict,
    :group_id, :relation, :method, :matched_id, :score, :threshold, :keeper_id, :score_to_keeper
);
