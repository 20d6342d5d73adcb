-- What each table and column means: `idedup db upgrade` writes it into PostgreSQL, from where
-- `make docs` writes the dictionary, docs/dictionary.md. SQLite keeps no comments.
COMMENT ON TABLE collection IS 'One row per collection of images, with the state last applied';
COMMENT ON COLUMN collection.name IS 'Name of the collection, as in its settings file';
COMMENT ON COLUMN collection.source IS 'Folder or URL the images come from, without credentials';
COMMENT ON COLUMN collection.period IS 'Length of an arrival period: hour, day or month';
COMMENT ON COLUMN collection.price_per_gb_month IS 'Storage price per 10^9 bytes and month';
COMMENT ON COLUMN collection.currency IS
    'Currency of the price, by its ISO 4217 code';
COMMENT ON COLUMN collection.variants_reclaimable IS
    'Whether variants count as reclaimable, as duplicates do';
COMMENT ON COLUMN collection.model_id IS 'Descriptor version of the results; null before any';
COMMENT ON COLUMN collection.run_id IS 'Run that applied the results last';
COMMENT ON COLUMN collection.versions_read IS 'The lake (lake_id) and versions of its tables';
COMMENT ON COLUMN collection.applied_at IS 'When the results were applied last';

COMMENT ON TABLE model IS 'Descriptors: the one each collection uses, and those registered';
COMMENT ON COLUMN model.collection IS 'The collection that uses it; empty: registered, see card';
COMMENT ON COLUMN model.model_id IS 'Version: weights, preprocessing, runtime and precision';
COMMENT ON COLUMN model.descriptor IS 'Name of the descriptor';
COMMENT ON COLUMN model.dim IS 'Length of its vectors';
COMMENT ON COLUMN model.threshold_pair IS
    'Cosine from which its own calibration calls two images copies';
COMMENT ON COLUMN model.threshold_candidate IS 'Cosine from which two images are looked at';
COMMENT ON COLUMN model.threshold_cut IS
    'Cosine at which its own calibration cuts groups of vectors';
COMMENT ON COLUMN model.phash_distance IS 'Bits up to which two perceptual hashes are looked at';
COMMENT ON COLUMN model.registered_at IS 'When it was registered; null for a collection''s row';
COMMENT ON COLUMN model.location IS 'Where its weights and card lie; null for a collection''s row';
COMMENT ON COLUMN model.card IS 'What it is, how it was trained and how good it is, as JSON';

COMMENT ON TABLE run IS 'History: one row per run and stage; a rerun overwrites its own row';
COMMENT ON COLUMN run.collection IS 'Name of the collection';
COMMENT ON COLUMN run.run_id IS 'Name of the run, as the scheduler gave it';
COMMENT ON COLUMN run.stage IS 'ingest, prefilter, embed, index, match, group or report';
COMMENT ON COLUMN run.state IS 'prepared (not yet checked or published), published or failed';
COMMENT ON COLUMN run.tries IS 'How many times the stage was prepared in this run';
COMMENT ON COLUMN run.window_start IS 'Start of the interval of arrivals; null: all arrivals';
COMMENT ON COLUMN run.window_end IS 'End of the interval, exclusive; null: all arrivals';
COMMENT ON COLUMN run.started_at IS 'When preparing began';
COMMENT ON COLUMN run.seconds IS 'How long preparing took';
COMMENT ON COLUMN run.rows_in IS 'Rows the stage looked at';
COMMENT ON COLUMN run.rows_out IS 'Rows that came out of it';
COMMENT ON COLUMN run.images IS 'Images it worked on, which images_per_second is computed from';
COMMENT ON COLUMN run.images_per_second IS 'images divided by seconds';
COMMENT ON COLUMN run.counts IS 'All counts of the stage, by name';
COMMENT ON COLUMN run.warnings IS 'Sentences that a person should read';
COMMENT ON COLUMN run.versions_read IS 'Versions of the lake tables read';
COMMENT ON COLUMN run.versions_written IS 'Versions of the lake tables published';
COMMENT ON COLUMN run.published_at IS 'When the result was published; null until then';
COMMENT ON COLUMN run.error IS 'Why preparing failed; null if it did not';

COMMENT ON TABLE image IS 'Current state: one row per object ever listed and still at the source';
COMMENT ON COLUMN image.collection IS 'Name of the collection';
COMMENT ON COLUMN image.image_id IS 'Hash of collection and key';
COMMENT ON COLUMN image.arrival IS 'Name of the arrival period (UTC), such as 2026-01-31';
COMMENT ON COLUMN image.period_start IS 'Start of the arrival period';
COMMENT ON COLUMN image.key IS 'Path relative to the source';
COMMENT ON COLUMN image.prefix IS 'Top-level folder of the key; empty at the top';
COMMENT ON COLUMN image.uri IS 'Full path or URL of the object';
COMMENT ON COLUMN image.arrived_at IS 'When it arrived, by the rule of the collection';
COMMENT ON COLUMN image.bytes IS 'Size of the object in bytes';
COMMENT ON COLUMN image.sha256 IS 'Digest of its content; null if it was not read';
COMMENT ON COLUMN image.width IS 'Width in pixels';
COMMENT ON COLUMN image.height IS 'Height in pixels';
COMMENT ON COLUMN image.format IS 'Format sniffed from the content, such as JPEG';
COMMENT ON COLUMN image.taken_at IS 'When the picture was taken, by its own metadata';
COMMENT ON COLUMN image.low_information IS 'Flat or near-blank: matched by bytes only';
COMMENT ON COLUMN image.status IS 'active, collapsed (a twin of an active one) or rejected';
COMMENT ON COLUMN image.reason_code IS 'Why it was rejected, as one word';
COMMENT ON COLUMN image.reason IS 'Why it was rejected, as a sentence';
COMMENT ON COLUMN image.verdict IS 'unique, keeper, duplicate or variant; null when rejected';

COMMENT ON TABLE duplicate_group IS 'Current state: one row per group of two or more images';
COMMENT ON COLUMN duplicate_group.collection IS 'Name of the collection';
COMMENT ON COLUMN duplicate_group.group_id IS 'Id of the earliest member; may change on a backfill';
COMMENT ON COLUMN duplicate_group.keeper_id IS 'The member to keep';
COMMENT ON COLUMN duplicate_group.size IS 'Members, the keeper included';
COMMENT ON COLUMN duplicate_group.bytes IS 'Bytes of all members';
COMMENT ON COLUMN duplicate_group.reclaimable_bytes IS
    'Bytes of its duplicates; of its variants too, if the collection says so';
COMMENT ON COLUMN duplicate_group.duplicates IS
    'Members that are duplicates of the keeper: exact, same or crop';
COMMENT ON COLUMN duplicate_group.variants IS
    'Members that are variants of the keeper: inside or edited';
COMMENT ON COLUMN duplicate_group.exact IS 'Members with the bytes of the keeper';
COMMENT ON COLUMN duplicate_group.same IS
    'Members that show the same as the keeper, in another size, format or position';
COMMENT ON COLUMN duplicate_group.crop IS 'Members that show a part of the keeper';
COMMENT ON COLUMN duplicate_group.inside IS
    'Members that hold the keeper in something else, or have more detail of a part';
COMMENT ON COLUMN duplicate_group.edited IS
    'Members of which a part differs from the keeper: text, sticker, retouched';
COMMENT ON COLUMN duplicate_group.first_arrival IS 'Arrival period of the earliest member';
COMMENT ON COLUMN duplicate_group.last_arrival IS 'Arrival period of the latest member';

COMMENT ON TABLE group_member IS
    'Current state: each image in a group, and what was seen of it and its keeper';
COMMENT ON COLUMN group_member.collection IS 'Name of the collection';
COMMENT ON COLUMN group_member.image_id IS 'The member';
COMMENT ON COLUMN group_member.group_id IS 'Its group';
COMMENT ON COLUMN group_member.is_keeper IS 'Whether it is the member to keep';
COMMENT ON COLUMN group_member.relation IS
    'To its keeper: exact, same, crop, inside or edited; null for the keeper';
COMMENT ON COLUMN group_member.method IS
    'sha256, or the version of the verifier that looked; null for the keeper';
COMMENT ON COLUMN group_member.keeper_id IS 'Keeper of the group';
COMMENT ON COLUMN group_member.score IS
    '0 to 1: the confidence that one was made from the other, or both from a third';
COMMENT ON COLUMN group_member.overlap IS 'Share of its area that lies on the keeper';
COMMENT ON COLUMN group_member.keeper_overlap IS 'Share of the keeper''s area that lies on it';
COMMENT ON COLUMN group_member.changed IS
    'Share of the informative area that both show in which they disagree';
COMMENT ON COLUMN group_member.place IS 'Where in it most of what differs is, such as top left';
COMMENT ON COLUMN group_member.why IS
    'Why it is what it is, as a sentence; of a keeper, why it is kept';

COMMENT ON TABLE duplicate_pair IS
    'Current state: pairs that were looked at and are not different, each once';
COMMENT ON COLUMN duplicate_pair.collection IS 'Name of the collection';
COMMENT ON COLUMN duplicate_pair.image_a IS 'The smaller image id';
COMMENT ON COLUMN duplicate_pair.image_b IS 'The larger image id';
COMMENT ON COLUMN duplicate_pair.relation IS
    'What was seen: exact, same, crop, inside, edited, alike or undecided';
COMMENT ON COLUMN duplicate_pair.score IS
    '0 to 1: the confidence that one was made from the other, or both from a third';
COMMENT ON COLUMN duplicate_pair.overlap_a IS 'Share of the area of image_a that lies on image_b';
COMMENT ON COLUMN duplicate_pair.overlap_b IS 'Share of the area of image_b that lies on image_a';
COMMENT ON COLUMN duplicate_pair.changed IS
    'Share of the informative area that both show in which they disagree';
COMMENT ON COLUMN duplicate_pair.is_keeper_pair IS 'One is the keeper of the other';

COMMENT ON TABLE quality_result IS 'History: outcome of each quality rule, by run and stage';
COMMENT ON COLUMN quality_result.collection IS 'Name of the collection';
COMMENT ON COLUMN quality_result.run_id IS 'Name of the run';
COMMENT ON COLUMN quality_result.stage IS 'The stage whose candidate was checked';
COMMENT ON COLUMN quality_result.rule IS 'Name of the rule';
COMMENT ON COLUMN quality_result.severity IS 'error (not published when broken) or warn';
COMMENT ON COLUMN quality_result.success IS 'Whether the rule held';
COMMENT ON COLUMN quality_result.observed IS 'What was found';
COMMENT ON COLUMN quality_result.expected IS 'What the rule asks for';
COMMENT ON COLUMN quality_result.checked_at IS 'When it was checked';

COMMENT ON TABLE benchmark_result IS 'History: what benchmarks of descriptors measured';
COMMENT ON COLUMN benchmark_result.benchmark_id IS 'Name of one run of a benchmark';
COMMENT ON COLUMN benchmark_result.created_at IS 'When it was measured';
COMMENT ON COLUMN benchmark_result.dataset IS 'What was searched';
COMMENT ON COLUMN benchmark_result.method IS 'What was measured: a descriptor, a hash, a library';
COMMENT ON COLUMN benchmark_result.model_id IS 'Version of the descriptor; null for other methods';
COMMENT ON COLUMN benchmark_result.measure IS 'Name of the figure, such as f1';
COMMENT ON COLUMN benchmark_result.value IS 'The figure';

COMMENT ON VIEW image_state IS
    'One row per object at the source: what it is, and what was decided about it';
COMMENT ON COLUMN image_state.collection IS 'Name of the collection';
COMMENT ON COLUMN image_state.arrival IS 'Name of the arrival period (UTC), such as 2026-01-31';
COMMENT ON COLUMN image_state.period_start IS 'Start of the arrival period';
COMMENT ON COLUMN image_state.image_id IS 'Hash of collection and key';
COMMENT ON COLUMN image_state.key IS 'Path relative to the source';
COMMENT ON COLUMN image_state.prefix IS 'Top-level folder of the key; empty at the top';
COMMENT ON COLUMN image_state.uri IS 'Full path or URL of the object';
COMMENT ON COLUMN image_state.arrived_at IS 'When it arrived, by the rule of the collection';
COMMENT ON COLUMN image_state.bytes IS 'Size in bytes';
COMMENT ON COLUMN image_state.width IS 'Width in pixels';
COMMENT ON COLUMN image_state.height IS 'Height in pixels';
COMMENT ON COLUMN image_state.format IS
    'Format sniffed from the content; unknown where it could not be told';
COMMENT ON COLUMN image_state.status IS 'active, collapsed (a twin of an active one) or rejected';
COMMENT ON COLUMN image_state.reason_code IS 'Why it was rejected, as one word';
COMMENT ON COLUMN image_state.verdict IS 'unique, keeper, duplicate or variant; null when rejected';
COMMENT ON COLUMN image_state.group_id IS
    'Its group, null for a unique image; may change on a backfill';
COMMENT ON COLUMN image_state.relation IS
    'To its keeper: exact, same, crop, inside or edited; else null';
COMMENT ON COLUMN image_state.reclaimable_bytes IS 'Its bytes if they could be saved, else 0';

COMMENT ON VIEW duplicate_counts IS
    'Objects, duplicates and variants by arrival period, prefix and format: others are its sums';
COMMENT ON COLUMN duplicate_counts.collection IS 'Name of the collection';
COMMENT ON COLUMN duplicate_counts.arrival IS
    'Name of the arrival period (UTC), such as 2026-01-31';
COMMENT ON COLUMN duplicate_counts.period_start IS 'Start of the arrival period';
COMMENT ON COLUMN duplicate_counts.prefix IS 'Top-level folder of the key; empty at the top';
COMMENT ON COLUMN duplicate_counts.format IS
    'Format sniffed from the content; unknown where it could not be told';
COMMENT ON COLUMN duplicate_counts.images IS 'Objects, rejected ones included';
COMMENT ON COLUMN duplicate_counts.decoded IS 'Objects that could be read';
COMMENT ON COLUMN duplicate_counts.active IS 'Images compared by their descriptor';
COMMENT ON COLUMN duplicate_counts.collapsed IS 'Images that stand behind an earlier twin';
COMMENT ON COLUMN duplicate_counts.rejected IS 'Objects that could not be read';
COMMENT ON COLUMN duplicate_counts.unique_images IS 'Images in no group';
COMMENT ON COLUMN duplicate_counts.keepers IS 'Images kept of a group';
COMMENT ON COLUMN duplicate_counts.duplicates IS 'Images that a keeper makes dispensable';
COMMENT ON COLUMN duplicate_counts.duplicates_exact IS 'Duplicates with the bytes of their keeper';
COMMENT ON COLUMN duplicate_counts.duplicates_same IS
    'Duplicates that show the same as their keeper';
COMMENT ON COLUMN duplicate_counts.duplicates_crop IS 'Duplicates that show a part of their keeper';
COMMENT ON COLUMN duplicate_counts.variants IS
    'Images of a group that are more or other than the keeper: inside, edited';
COMMENT ON COLUMN duplicate_counts.variants_inside IS
    'Variants that hold their keeper in something else, or more detail of a part';
COMMENT ON COLUMN duplicate_counts.variants_edited IS
    'Variants of which a part differs from their keeper';
COMMENT ON COLUMN duplicate_counts.bytes IS 'Bytes of all objects';
COMMENT ON COLUMN duplicate_counts.reclaimable_bytes IS
    'Bytes that could be saved: of duplicates, and of variants if the collection says so';
COMMENT ON COLUMN duplicate_counts.reclaimable_exact IS 'Reclaimable bytes of relation exact';
COMMENT ON COLUMN duplicate_counts.reclaimable_same IS 'Reclaimable bytes of relation same';
COMMENT ON COLUMN duplicate_counts.reclaimable_crop IS 'Reclaimable bytes of relation crop';
COMMENT ON COLUMN duplicate_counts.reclaimable_inside IS
    'Reclaimable bytes of relation inside: 0 unless variants are reclaimable';
COMMENT ON COLUMN duplicate_counts.reclaimable_edited IS
    'Reclaimable bytes of relation edited: 0 unless variants are reclaimable';
COMMENT ON COLUMN duplicate_counts.price_per_gb_month IS 'Storage price per 10^9 bytes and month';
COMMENT ON COLUMN duplicate_counts.cost_per_month IS 'What storing all of it costs a month';
COMMENT ON COLUMN duplicate_counts.savable_per_month IS
    'What storing the reclaimable bytes costs a month';
COMMENT ON COLUMN duplicate_counts.currency IS
    'Currency of the price and of costs, by its ISO 4217 code';

COMMENT ON VIEW duplicates_by_period IS 'Duplicates by arrival period: the trend';
COMMENT ON COLUMN duplicates_by_period.collection IS 'Name of the collection';
COMMENT ON COLUMN duplicates_by_period.arrival IS
    'Name of the arrival period (UTC), such as 2026-01-31';
COMMENT ON COLUMN duplicates_by_period.period_start IS 'Start of the arrival period';
COMMENT ON COLUMN duplicates_by_period.images IS 'Objects, rejected ones included';
COMMENT ON COLUMN duplicates_by_period.decoded IS 'Objects that could be read';
COMMENT ON COLUMN duplicates_by_period.rejected IS 'Objects that could not be read';
COMMENT ON COLUMN duplicates_by_period.unique_images IS 'Images in no group';
COMMENT ON COLUMN duplicates_by_period.keepers IS 'Groups whose keeper arrived then';
COMMENT ON COLUMN duplicates_by_period.duplicates IS 'Images that a keeper makes dispensable';
COMMENT ON COLUMN duplicates_by_period.duplicates_exact IS
    'Duplicates with the bytes of their keeper';
COMMENT ON COLUMN duplicates_by_period.duplicates_same IS
    'Duplicates that show the same as their keeper';
COMMENT ON COLUMN duplicates_by_period.duplicates_crop IS
    'Duplicates that show a part of their keeper';
COMMENT ON COLUMN duplicates_by_period.variants IS
    'Images of a group that are more or other than the keeper: inside, edited';
COMMENT ON COLUMN duplicates_by_period.variants_inside IS
    'Variants that hold their keeper in something else, or more detail of a part';
COMMENT ON COLUMN duplicates_by_period.variants_edited IS
    'Variants of which a part differs from their keeper';
COMMENT ON COLUMN duplicates_by_period.duplicate_rate IS
    'duplicates divided by decoded; null over nothing';
COMMENT ON COLUMN duplicates_by_period.bytes IS 'Bytes of all objects';
COMMENT ON COLUMN duplicates_by_period.reclaimable_bytes IS
    'Bytes that could be saved: of duplicates, and of variants if the collection says so';
COMMENT ON COLUMN duplicates_by_period.reclaimable_exact IS 'Reclaimable bytes of relation exact';
COMMENT ON COLUMN duplicates_by_period.reclaimable_same IS 'Reclaimable bytes of relation same';
COMMENT ON COLUMN duplicates_by_period.reclaimable_crop IS 'Reclaimable bytes of relation crop';
COMMENT ON COLUMN duplicates_by_period.reclaimable_inside IS
    'Reclaimable bytes of relation inside: 0 unless variants are reclaimable';
COMMENT ON COLUMN duplicates_by_period.reclaimable_edited IS
    'Reclaimable bytes of relation edited: 0 unless variants are reclaimable';

COMMENT ON VIEW duplicates_by_format IS 'Duplicates by format';
COMMENT ON COLUMN duplicates_by_format.collection IS 'Name of the collection';
COMMENT ON COLUMN duplicates_by_format.format IS
    'Format sniffed from the content; unknown where it could not be told';
COMMENT ON COLUMN duplicates_by_format.images IS 'Objects, rejected ones included';
COMMENT ON COLUMN duplicates_by_format.decoded IS 'Objects that could be read';
COMMENT ON COLUMN duplicates_by_format.rejected IS 'Objects that could not be read';
COMMENT ON COLUMN duplicates_by_format.unique_images IS 'Images in no group';
COMMENT ON COLUMN duplicates_by_format.keepers IS 'Images kept of a group';
COMMENT ON COLUMN duplicates_by_format.duplicates IS 'Images that a keeper makes dispensable';
COMMENT ON COLUMN duplicates_by_format.duplicates_exact IS
    'Duplicates with the bytes of their keeper';
COMMENT ON COLUMN duplicates_by_format.duplicates_same IS
    'Duplicates that show the same as their keeper';
COMMENT ON COLUMN duplicates_by_format.duplicates_crop IS
    'Duplicates that show a part of their keeper';
COMMENT ON COLUMN duplicates_by_format.variants IS
    'Images of a group that are more or other than the keeper: inside, edited';
COMMENT ON COLUMN duplicates_by_format.variants_inside IS
    'Variants that hold their keeper in something else, or more detail of a part';
COMMENT ON COLUMN duplicates_by_format.variants_edited IS
    'Variants of which a part differs from their keeper';
COMMENT ON COLUMN duplicates_by_format.duplicate_rate IS
    'duplicates divided by decoded; null over nothing';
COMMENT ON COLUMN duplicates_by_format.bytes IS 'Bytes of all objects';
COMMENT ON COLUMN duplicates_by_format.reclaimable_bytes IS
    'Bytes that could be saved: of duplicates, and of variants if the collection says so';
COMMENT ON COLUMN duplicates_by_format.reclaimable_exact IS 'Reclaimable bytes of relation exact';
COMMENT ON COLUMN duplicates_by_format.reclaimable_same IS 'Reclaimable bytes of relation same';
COMMENT ON COLUMN duplicates_by_format.reclaimable_crop IS 'Reclaimable bytes of relation crop';
COMMENT ON COLUMN duplicates_by_format.reclaimable_inside IS
    'Reclaimable bytes of relation inside: 0 unless variants are reclaimable';
COMMENT ON COLUMN duplicates_by_format.reclaimable_edited IS
    'Reclaimable bytes of relation edited: 0 unless variants are reclaimable';

COMMENT ON VIEW duplicates_by_prefix IS 'Duplicates by top-level folder of the source';
COMMENT ON COLUMN duplicates_by_prefix.collection IS 'Name of the collection';
COMMENT ON COLUMN duplicates_by_prefix.prefix IS 'Top-level folder of the key; empty at the top';
COMMENT ON COLUMN duplicates_by_prefix.images IS 'Objects, rejected ones included';
COMMENT ON COLUMN duplicates_by_prefix.decoded IS 'Objects that could be read';
COMMENT ON COLUMN duplicates_by_prefix.rejected IS 'Objects that could not be read';
COMMENT ON COLUMN duplicates_by_prefix.unique_images IS 'Images in no group';
COMMENT ON COLUMN duplicates_by_prefix.keepers IS 'Images kept of a group';
COMMENT ON COLUMN duplicates_by_prefix.duplicates IS 'Images that a keeper makes dispensable';
COMMENT ON COLUMN duplicates_by_prefix.duplicates_exact IS
    'Duplicates with the bytes of their keeper';
COMMENT ON COLUMN duplicates_by_prefix.duplicates_same IS
    'Duplicates that show the same as their keeper';
COMMENT ON COLUMN duplicates_by_prefix.duplicates_crop IS
    'Duplicates that show a part of their keeper';
COMMENT ON COLUMN duplicates_by_prefix.variants IS
    'Images of a group that are more or other than the keeper: inside, edited';
COMMENT ON COLUMN duplicates_by_prefix.variants_inside IS
    'Variants that hold their keeper in something else, or more detail of a part';
COMMENT ON COLUMN duplicates_by_prefix.variants_edited IS
    'Variants of which a part differs from their keeper';
COMMENT ON COLUMN duplicates_by_prefix.duplicate_rate IS
    'duplicates divided by decoded; null over nothing';
COMMENT ON COLUMN duplicates_by_prefix.bytes IS 'Bytes of all objects';
COMMENT ON COLUMN duplicates_by_prefix.reclaimable_bytes IS
    'Bytes that could be saved: of duplicates, and of variants if the collection says so';
COMMENT ON COLUMN duplicates_by_prefix.reclaimable_exact IS 'Reclaimable bytes of relation exact';
COMMENT ON COLUMN duplicates_by_prefix.reclaimable_same IS 'Reclaimable bytes of relation same';
COMMENT ON COLUMN duplicates_by_prefix.reclaimable_crop IS 'Reclaimable bytes of relation crop';
COMMENT ON COLUMN duplicates_by_prefix.reclaimable_inside IS
    'Reclaimable bytes of relation inside: 0 unless variants are reclaimable';
COMMENT ON COLUMN duplicates_by_prefix.reclaimable_edited IS
    'Reclaimable bytes of relation edited: 0 unless variants are reclaimable';

COMMENT ON VIEW group_profile IS 'One row per group of two or more images';
COMMENT ON COLUMN group_profile.collection IS 'Name of the collection';
COMMENT ON COLUMN group_profile.group_id IS
    'Id of the group''s earliest member; may change on a backfill';
COMMENT ON COLUMN group_profile.relation IS
    'The relation of all members to the keeper: exact, same, crop, inside or edited; else mixed';
COMMENT ON COLUMN group_profile.size IS 'Members, the keeper included';
COMMENT ON COLUMN group_profile.bytes IS 'Bytes of all members';
COMMENT ON COLUMN group_profile.reclaimable_bytes IS
    'Bytes that could be saved: of duplicates, and of variants if the collection says so';
COMMENT ON COLUMN group_profile.duplicates IS
    'Members that are duplicates of the keeper: exact, same or crop';
COMMENT ON COLUMN group_profile.variants IS
    'Members that are variants of the keeper: inside or edited';
COMMENT ON COLUMN group_profile.exact IS 'Members with the bytes of the keeper';
COMMENT ON COLUMN group_profile.same IS
    'Members that show the same as the keeper, in another size, format or position';
COMMENT ON COLUMN group_profile.crop IS 'Members that show a part of the keeper';
COMMENT ON COLUMN group_profile.inside IS
    'Members that hold the keeper in something else, or have more detail of a part';
COMMENT ON COLUMN group_profile.edited IS
    'Members of which a part differs from the keeper: text, sticker, retouched';
COMMENT ON COLUMN group_profile.first_arrival IS 'Arrival period of the earliest member';
COMMENT ON COLUMN group_profile.last_arrival IS 'Arrival period of the latest member';
COMMENT ON COLUMN group_profile.keeper_id IS 'The member to keep';
COMMENT ON COLUMN group_profile.keeper_key IS 'Key of the member to keep';
COMMENT ON COLUMN group_profile.keeper_uri IS 'Path or URL of the member to keep';
COMMENT ON COLUMN group_profile.cost_per_month IS
    'What storing its reclaimable bytes costs a month';
COMMENT ON COLUMN group_profile.period_start IS 'Start of the arrival period of the keeper';
COMMENT ON COLUMN group_profile.currency IS
    'Currency of the price and of costs, by its ISO 4217 code';

COMMENT ON VIEW group_sizes IS 'How many groups there are of each size and relation';
COMMENT ON COLUMN group_sizes.collection IS 'Name of the collection';
COMMENT ON COLUMN group_sizes.size IS 'Members, the keeper included';
COMMENT ON COLUMN group_sizes.relation IS 'exact, same, crop, inside, edited or mixed';
COMMENT ON COLUMN group_sizes.groups IS 'Groups of this size and relation';
COMMENT ON COLUMN group_sizes.images IS 'Their members';
COMMENT ON COLUMN group_sizes.reclaimable_bytes IS
    'Bytes that could be saved: of duplicates, and of variants if the collection says so';

COMMENT ON VIEW top_groups IS 'Groups with their ranks in the collection: filter by a rank';
COMMENT ON COLUMN top_groups.collection IS 'Name of the collection';
COMMENT ON COLUMN top_groups.rank_by_size IS '1 for the group with the most members';
COMMENT ON COLUMN top_groups.rank_by_bytes IS '1 for the group with the most reclaimable bytes';
COMMENT ON COLUMN top_groups.group_id IS
    'Id of the group''s earliest member; may change on a backfill';
COMMENT ON COLUMN top_groups.relation IS 'exact, same, crop, inside, edited or mixed';
COMMENT ON COLUMN top_groups.size IS 'Members, the keeper included';
COMMENT ON COLUMN top_groups.bytes IS 'Bytes of all members';
COMMENT ON COLUMN top_groups.reclaimable_bytes IS
    'Bytes that could be saved: of duplicates, and of variants if the collection says so';
COMMENT ON COLUMN top_groups.duplicates IS
    'Members that are duplicates of the keeper: exact, same or crop';
COMMENT ON COLUMN top_groups.variants IS
    'Members that are variants of the keeper: inside or edited';
COMMENT ON COLUMN top_groups.exact IS 'Members with the bytes of the keeper';
COMMENT ON COLUMN top_groups.same IS
    'Members that show the same as the keeper, in another size, format or position';
COMMENT ON COLUMN top_groups.crop IS 'Members that show a part of the keeper';
COMMENT ON COLUMN top_groups.inside IS
    'Members that hold the keeper in something else, or have more detail of a part';
COMMENT ON COLUMN top_groups.edited IS
    'Members of which a part differs from the keeper: text, sticker, retouched';
COMMENT ON COLUMN top_groups.first_arrival IS 'Arrival period of the earliest member';
COMMENT ON COLUMN top_groups.last_arrival IS 'Arrival period of the latest member';
COMMENT ON COLUMN top_groups.keeper_id IS 'The member to keep';
COMMENT ON COLUMN top_groups.keeper_key IS 'Key of the member to keep';
COMMENT ON COLUMN top_groups.keeper_uri IS 'Path or URL of the member to keep';
COMMENT ON COLUMN top_groups.cost_per_month IS 'What storing its reclaimable bytes costs a month';
COMMENT ON COLUMN top_groups.period_start IS 'Start of the arrival period of the keeper';
COMMENT ON COLUMN top_groups.currency IS
    'Currency of the price and of costs, by its ISO 4217 code';

COMMENT ON VIEW member_evidence IS
    'Why are these images one group? One row per member: what was seen of it and its keeper';
COMMENT ON COLUMN member_evidence.collection IS 'Name of the collection';
COMMENT ON COLUMN member_evidence.group_id IS
    'Id of the group''s earliest member; may change on a backfill';
COMMENT ON COLUMN member_evidence.image_id IS 'Hash of collection and key';
COMMENT ON COLUMN member_evidence.key IS 'Path relative to the source';
COMMENT ON COLUMN member_evidence.uri IS 'Full path or URL of the object';
COMMENT ON COLUMN member_evidence.arrival IS 'Name of the arrival period (UTC), such as 2026-01-31';
COMMENT ON COLUMN member_evidence.bytes IS 'Size in bytes';
COMMENT ON COLUMN member_evidence.width IS 'Width in pixels';
COMMENT ON COLUMN member_evidence.height IS 'Height in pixels';
COMMENT ON COLUMN member_evidence.format IS
    'Format sniffed from the content; unknown where it could not be told';
COMMENT ON COLUMN member_evidence.is_keeper IS 'Whether it is the member to keep';
COMMENT ON COLUMN member_evidence.verdict IS 'keeper, duplicate or variant';
COMMENT ON COLUMN member_evidence.relation IS
    'To its keeper: exact, same, crop, inside or edited; null for the keeper';
COMMENT ON COLUMN member_evidence.method IS
    'sha256, or the version of the verifier that looked; null for the keeper';
COMMENT ON COLUMN member_evidence.score IS
    '0 to 1: the confidence that one was made from the other, or both from a third';
COMMENT ON COLUMN member_evidence.overlap IS 'Share of its area that lies on the keeper';
COMMENT ON COLUMN member_evidence.keeper_overlap IS 'Share of the keeper''s area that lies on it';
COMMENT ON COLUMN member_evidence.changed IS
    'Share of the informative area that both show in which they disagree';
COMMENT ON COLUMN member_evidence.place IS 'Where in it most of what differs is, such as top left';
COMMENT ON COLUMN member_evidence.why IS
    'Why it is what it is, as a sentence; of a keeper, why it is kept';
COMMENT ON COLUMN member_evidence.keeper_id IS 'The member to keep';
COMMENT ON COLUMN member_evidence.keeper_key IS 'Key of the member to keep';
COMMENT ON COLUMN member_evidence.keeper_uri IS 'Path or URL of the member to keep';

COMMENT ON VIEW alike_pairs IS
    'Pairs that were looked at and are alike, but not the same picture';
COMMENT ON COLUMN alike_pairs.collection IS 'Name of the collection';
COMMENT ON COLUMN alike_pairs.image_a IS 'The smaller image id';
COMMENT ON COLUMN alike_pairs.key_a IS 'Its key';
COMMENT ON COLUMN alike_pairs.uri_a IS 'Its path or URL';
COMMENT ON COLUMN alike_pairs.image_b IS 'The larger image id';
COMMENT ON COLUMN alike_pairs.key_b IS 'Its key';
COMMENT ON COLUMN alike_pairs.uri_b IS 'Its path or URL';
COMMENT ON COLUMN alike_pairs.score IS
    '0 to 1: the confidence that one was made from the other, or both from a third';
COMMENT ON COLUMN alike_pairs.overlap_a IS 'Share of the area of image_a that lies on image_b';
COMMENT ON COLUMN alike_pairs.overlap_b IS 'Share of the area of image_b that lies on image_a';
COMMENT ON COLUMN alike_pairs.changed IS
    'Share of the informative area that both show in which they disagree';
COMMENT ON COLUMN alike_pairs.arrival IS 'Arrival period of the later of the two';
COMMENT ON COLUMN alike_pairs.period_start IS 'Start of that arrival period';

COMMENT ON VIEW rejects_by_reason IS 'Files that could not be read, by arrival period and reason';
COMMENT ON COLUMN rejects_by_reason.collection IS 'Name of the collection';
COMMENT ON COLUMN rejects_by_reason.arrival IS
    'Name of the arrival period (UTC), such as 2026-01-31';
COMMENT ON COLUMN rejects_by_reason.period_start IS 'Start of the arrival period';
COMMENT ON COLUMN rejects_by_reason.reason_code IS 'Why it was rejected, as one word';
COMMENT ON COLUMN rejects_by_reason.images IS 'Files';
COMMENT ON COLUMN rejects_by_reason.bytes IS 'Their bytes';

COMMENT ON VIEW collection_totals IS
    'One row per collection, also when it has no image yet: what it holds and what could be saved';
COMMENT ON COLUMN collection_totals.collection IS 'Name of the collection';
COMMENT ON COLUMN collection_totals.source IS
    'Folder or URL the images come from, without credentials';
COMMENT ON COLUMN collection_totals.period IS 'Length of an arrival period: hour, day or month';
COMMENT ON COLUMN collection_totals.model_id IS
    'Descriptor version of the results; null before any';
COMMENT ON COLUMN collection_totals.run_id IS 'Run that applied the results last';
COMMENT ON COLUMN collection_totals.applied_at IS 'When the results were applied last';
COMMENT ON COLUMN collection_totals.images IS 'Objects, rejected ones included';
COMMENT ON COLUMN collection_totals.active IS 'Images compared by their descriptor';
COMMENT ON COLUMN collection_totals.collapsed IS 'Images that stand behind an earlier twin';
COMMENT ON COLUMN collection_totals.rejected IS 'Objects that could not be read';
COMMENT ON COLUMN collection_totals.unique_images IS 'Images in no group';
COMMENT ON COLUMN collection_totals.groups IS 'Groups of two or more images';
COMMENT ON COLUMN collection_totals.duplicates IS 'Images that a keeper makes dispensable';
COMMENT ON COLUMN collection_totals.duplicates_exact IS 'Duplicates with the bytes of their keeper';
COMMENT ON COLUMN collection_totals.duplicates_same IS
    'Duplicates that show the same as their keeper';
COMMENT ON COLUMN collection_totals.duplicates_crop IS
    'Duplicates that show a part of their keeper';
COMMENT ON COLUMN collection_totals.variants IS
    'Images of a group that are more or other than the keeper: inside, edited';
COMMENT ON COLUMN collection_totals.variants_inside IS
    'Variants that hold their keeper in something else, or more detail of a part';
COMMENT ON COLUMN collection_totals.variants_edited IS
    'Variants of which a part differs from their keeper';
COMMENT ON COLUMN collection_totals.duplicate_rate IS
    'duplicates divided by decoded; null over nothing';
COMMENT ON COLUMN collection_totals.bytes IS 'Bytes of all objects';
COMMENT ON COLUMN collection_totals.reclaimable_bytes IS
    'Bytes that could be saved: of duplicates, and of variants if the collection says so';
COMMENT ON COLUMN collection_totals.reclaimable_exact IS 'Reclaimable bytes of relation exact';
COMMENT ON COLUMN collection_totals.reclaimable_same IS 'Reclaimable bytes of relation same';
COMMENT ON COLUMN collection_totals.reclaimable_crop IS 'Reclaimable bytes of relation crop';
COMMENT ON COLUMN collection_totals.reclaimable_inside IS
    'Reclaimable bytes of relation inside: 0 unless variants are reclaimable';
COMMENT ON COLUMN collection_totals.reclaimable_edited IS
    'Reclaimable bytes of relation edited: 0 unless variants are reclaimable';
COMMENT ON COLUMN collection_totals.price_per_gb_month IS 'Storage price per 10^9 bytes and month';
COMMENT ON COLUMN collection_totals.cost_per_month IS 'What storing all of it costs a month';
COMMENT ON COLUMN collection_totals.savable_per_month IS
    'What storing the reclaimable bytes costs a month';
COMMENT ON COLUMN collection_totals.currency IS
    'Currency of the price and of costs, by its ISO 4217 code';
COMMENT ON COLUMN collection_totals.decoded IS 'Objects that could be read';

COMMENT ON VIEW storage_cost IS
    'What duplicates and variants of each relation cost to keep, at the collection''s price';
COMMENT ON COLUMN storage_cost.collection IS 'Name of the collection';
COMMENT ON COLUMN storage_cost.relation IS 'exact, same, crop, inside or edited';
COMMENT ON COLUMN storage_cost.images IS 'Duplicates or variants of this relation';
COMMENT ON COLUMN storage_cost.reclaimable_bytes IS 'Those of their bytes that could be saved';
COMMENT ON COLUMN storage_cost.reclaimable_gb IS 'The same in units of 10^9 bytes';
COMMENT ON COLUMN storage_cost.price_per_gb_month IS 'Storage price per 10^9 bytes and month';
COMMENT ON COLUMN storage_cost.cost_per_month IS 'What storing those costs a month';
COMMENT ON COLUMN storage_cost.currency IS
    'Currency of the price and of costs, by its ISO 4217 code';

COMMENT ON VIEW run_health IS 'How each run went, stage by stage';
COMMENT ON COLUMN run_health.collection IS 'Name of the collection';
COMMENT ON COLUMN run_health.run_id IS 'Name of the run, as the scheduler gave it';
COMMENT ON COLUMN run_health.stage IS 'ingest, prefilter, embed, index, match, group or report';
COMMENT ON COLUMN run_health.stage_number IS 'Order of the stages, from 1';
COMMENT ON COLUMN run_health.state IS
    'prepared, published, failed, or refused where the gate kept the result back';
COMMENT ON COLUMN run_health.tries IS 'How many times the stage was prepared in this run';
COMMENT ON COLUMN run_health.window_start IS
    'Start of the interval of arrivals; null: all arrivals';
COMMENT ON COLUMN run_health.window_end IS 'End of the interval, exclusive; null: all arrivals';
COMMENT ON COLUMN run_health.started_at IS 'When preparing began';
COMMENT ON COLUMN run_health.published_at IS 'When the result was published; null until then';
COMMENT ON COLUMN run_health.seconds IS 'How long preparing took';
COMMENT ON COLUMN run_health.rows_in IS 'Rows the stage looked at';
COMMENT ON COLUMN run_health.rows_out IS 'Rows that came out of it';
COMMENT ON COLUMN run_health.images IS 'Images it worked on';
COMMENT ON COLUMN run_health.images_per_second IS 'images divided by seconds';
COMMENT ON COLUMN run_health.warnings IS 'Sentences that a person should read';
COMMENT ON COLUMN run_health.error IS 'Why preparing failed; null if it did not';
COMMENT ON COLUMN run_health.rules IS 'Quality rules checked';
COMMENT ON COLUMN run_health.rules_failed IS 'Rules of severity error that did not hold';
COMMENT ON COLUMN run_health.rules_warned IS 'Rules of severity warn that did not hold';

COMMENT ON VIEW run_summary IS
    'One row per run: how far it came, how long it took, how fast it was';
COMMENT ON COLUMN run_summary.collection IS 'Name of the collection';
COMMENT ON COLUMN run_summary.run_id IS 'Name of the run, as the scheduler gave it';
COMMENT ON COLUMN run_summary.started_at IS 'When its first stage began';
COMMENT ON COLUMN run_summary.published_at IS 'When its last stage was published';
COMMENT ON COLUMN run_summary.window_start IS
    'Start of the interval of arrivals; null: all arrivals';
COMMENT ON COLUMN run_summary.window_end IS 'End of the interval, exclusive; null: all arrivals';
COMMENT ON COLUMN run_summary.seconds IS 'How long preparing took, all stages together';
COMMENT ON COLUMN run_summary.stages_published IS 'Stages whose result was published';
COMMENT ON COLUMN run_summary.stages_failed IS 'Stages that failed or were refused';
COMMENT ON COLUMN run_summary.rules_failed IS 'Rules of severity error that did not hold';
COMMENT ON COLUMN run_summary.rules_warned IS 'Rules of severity warn that did not hold';
COMMENT ON COLUMN run_summary.listed IS 'Objects its window holds at the source';
COMMENT ON COLUMN run_summary.rejected IS 'Objects of its window that could not be read';
COMMENT ON COLUMN run_summary.images IS 'Objects that ingest read anew';
COMMENT ON COLUMN run_summary.images_per_second IS 'images divided by seconds of all stages';

COMMENT ON VIEW rejects_by_run IS
    'Files that could not be read, of those that arrived in the run''s window, as they are now';
COMMENT ON COLUMN rejects_by_run.collection IS 'Name of the collection';
COMMENT ON COLUMN rejects_by_run.run_id IS 'Name of the run, as the scheduler gave it';
COMMENT ON COLUMN rejects_by_run.started_at IS 'When the run began';
COMMENT ON COLUMN rejects_by_run.window_start IS
    'Start of the interval of arrivals; null: all arrivals';
COMMENT ON COLUMN rejects_by_run.window_end IS
    'End of the interval, exclusive; null: all arrivals';
COMMENT ON COLUMN rejects_by_run.reason_code IS 'Why it was rejected, as one word';
COMMENT ON COLUMN rejects_by_run.images IS 'Files';
COMMENT ON COLUMN rejects_by_run.bytes IS 'Their bytes';

COMMENT ON VIEW quality_over_time IS 'Every outcome of every quality rule';
COMMENT ON COLUMN quality_over_time.collection IS 'Name of the collection';
COMMENT ON COLUMN quality_over_time.stage IS 'The stage whose candidate was checked';
COMMENT ON COLUMN quality_over_time.rule IS 'Name of the quality rule';
COMMENT ON COLUMN quality_over_time.severity IS 'error (not published when broken) or warn';
COMMENT ON COLUMN quality_over_time.run_id IS 'Name of the run, as the scheduler gave it';
COMMENT ON COLUMN quality_over_time.checked_at IS 'When it was checked';
COMMENT ON COLUMN quality_over_time.window_start IS
    'Start of the interval of arrivals; null: all arrivals';
COMMENT ON COLUMN quality_over_time.window_end IS
    'End of the interval, exclusive; null: all arrivals';
COMMENT ON COLUMN quality_over_time.success IS 'Whether the rule held';
COMMENT ON COLUMN quality_over_time.observed IS 'What was found';
COMMENT ON COLUMN quality_over_time.expected IS 'What the rule asks for';
COMMENT ON COLUMN quality_over_time.age IS '1 for the newest outcome of a rule in a collection';

COMMENT ON VIEW quality_open IS
    'Rules whose newest outcome is a failure: what a person should look at';
COMMENT ON COLUMN quality_open.collection IS 'Name of the collection';
COMMENT ON COLUMN quality_open.stage IS 'The stage whose candidate was checked';
COMMENT ON COLUMN quality_open.rule IS 'Name of the quality rule';
COMMENT ON COLUMN quality_open.severity IS 'error (not published when broken) or warn';
COMMENT ON COLUMN quality_open.run_id IS 'Name of the run, as the scheduler gave it';
COMMENT ON COLUMN quality_open.checked_at IS 'When it was checked';
COMMENT ON COLUMN quality_open.window_start IS
    'Start of the interval of arrivals; null: all arrivals';
COMMENT ON COLUMN quality_open.window_end IS 'End of the interval, exclusive; null: all arrivals';
COMMENT ON COLUMN quality_open.observed IS 'What was found';
COMMENT ON COLUMN quality_open.expected IS 'What the rule asks for';

COMMENT ON VIEW benchmark_history IS 'What benchmarks of descriptors measured';
COMMENT ON COLUMN benchmark_history.benchmark_id IS 'Name of one run of a benchmark';
COMMENT ON COLUMN benchmark_history.created_at IS 'When it was measured';
COMMENT ON COLUMN benchmark_history.dataset IS 'What was searched';
COMMENT ON COLUMN benchmark_history.method IS 'What was measured: a descriptor, a hash, a library';
COMMENT ON COLUMN benchmark_history.model_id IS 'Version of the descriptor; null for other methods';
COMMENT ON COLUMN benchmark_history.measure IS 'Name of the figure, such as f1';
COMMENT ON COLUMN benchmark_history.value IS 'The figure';
COMMENT ON COLUMN benchmark_history.age IS
    '1 for the newest figure of a data set, method and measure';
