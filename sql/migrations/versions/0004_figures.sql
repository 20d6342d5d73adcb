-- Files that could not be read are few, and two views look for nothing else.
CREATE INDEX image_rejected ON image (collection, arrived_at) WHERE status = 'rejected';
