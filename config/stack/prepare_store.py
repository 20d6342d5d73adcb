"""Create the buckets, and refuse a store on which two runs could overwrite each other's commits.

python config/stack/prepare_store.py BUCKET…

The lake publishes a table's version by a conditional write: of several that write the same object
`If-None-Match: *`, one must succeed. A store that ignores the condition, or checks it before the
write and not with it, would lose what a run has published without a word.
"""

from __future__ import annotations

import re
import sys
import uuid
from concurrent.futures import ThreadPoolExecutor

import fsspec

_WRITERS = 8
_ROUNDS = 5


def main(buckets: list[str]) -> int:
    """Returns the exit code: 0, 1 when the store is not fit for a lake, 2 for bad use."""
    if not buckets:
        print(__doc__, file=sys.stderr)
        return 2
    store = fsspec.filesystem("s3", use_listings_cache=False)
    for bucket in buckets:
        if not store.exists(bucket):
            store.call_s3("create_bucket", Bucket=bucket)
            print(f"Made the bucket {bucket}.")
    for _ in range(_ROUNDS):
        if (successes := race(store, buckets[0])) != 1:
            print(
                f"Of {_WRITERS} conditional writes of one object {successes} succeeded instead of "
                "one: this store cannot hold a lake; use one with atomic If-None-Match.",
                file=sys.stderr,
            )
            return 1
    return 0


def race(store: fsspec.AbstractFileSystem, bucket: str) -> int:
    """How many of some simultaneous writes of one new object succeed."""
    key = f"conditional-write-{uuid.uuid4().hex}"

    def attempt(writer: int) -> bool:
        try:
            store.call_s3(
                "put_object", Bucket=bucket, Key=key, Body=b"%d" % writer, IfNoneMatch="*"
            )
        except OSError as error:
            # Refused by the condition (412) or for a write under way (409): all else is a fault.
            if not re.search(r"(?i)pre-?condition|conflict", str(error)):
                raise
            return False
        return True

    try:
        with ThreadPoolExecutor(_WRITERS) as writers:
            return sum(writers.map(attempt, range(_WRITERS)))
    finally:
        store.call_s3("delete_object", Bucket=bucket, Key=key)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
