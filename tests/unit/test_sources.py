"""Listings are complete, streamed and discreet, on real folders and a real S3 server."""

import os
import shutil
import socket
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import fsspec
import pytest
from moto.server import ThreadedMotoServer

from idedup_tasks import sources
from idedup_tasks.sources import (
    ObjectUnreadable,
    ObjectVanished,
    SourceUnreachable,
    is_local,
    list_objects,
    read_object,
)

SECRET = "s3cr3t/that+nobody/may=see"


def listing(uri, **options):
    found = {item.key: item for item in list_objects(uri, options or None)}
    assert len(found) == sum(1 for _ in list_objects(uri, options or None))
    return found


def fill(folder, names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())


# --- folders -------------------------------------------------------------------------------------

NAMES = [
    "a.jpg",
    "b/c.png",
    "b/d/e",
    ".hidden/x.gif",
    ".y",
    "sp ace/ünïcode 名前.jpg",
    "a::b#?%.jpg",
]


def test_a_folder_is_listed_whole(tmp_path):
    fill(tmp_path, NAMES)
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "empty folder").mkdir()
    moment = 1_700_000_000_123_456_789
    os.utime(tmp_path / "a.jpg", ns=(moment, moment))
    found = listing(tmp_path)
    assert set(found) == {*NAMES, "empty.jpg"}
    assert found["empty.jpg"].bytes == 0
    assert not any(item.problem for item in found.values())
    item = found["a.jpg"]
    assert item.uri == f"file://{tmp_path}/a.jpg"
    assert item.bytes == 5
    assert item.modified_at == datetime(2023, 11, 14, 22, 13, 20, 123456, UTC)
    assert item.etag == str(moment)
    for name in NAMES:
        assert read_object(found[name].uri, 1000) == name.encode()


def test_all_ways_to_name_a_folder_agree(tmp_path, monkeypatch):
    fill(tmp_path, ["pictures/a.jpg"])
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    names = [
        tmp_path / "pictures",
        f"{tmp_path}/pictures/",
        "pictures",
        "~/pictures",
        f"file://{tmp_path}/pictures",
    ]
    listings = [listing(name) for name in names]
    assert all(one == listings[0] for one in listings)
    assert list(listings[0]) == ["a.jpg"]
    assert all(is_local(name) for name in names)
    assert not is_local("s3://bucket")


def test_a_missing_folder_is_unreachable(tmp_path):
    with pytest.raises(SourceUnreachable, match="nowhere cannot be listed: No such file"):
        list(list_objects(tmp_path / "nowhere"))
    (tmp_path / "file").touch()
    with pytest.raises(SourceUnreachable, match="Not a directory"):
        list(list_objects(tmp_path / "file"))


def test_names_that_are_not_utf8_are_kept_apart_and_found_again(tmp_path):
    names = [b"caf\xe9.jpg", b"\xff\xfe", "caf\u00e9.jpg".encode(), "\uefe9.jpg".encode()]
    names += [b"\xe9.jpg", b"d\xefr/\xe9"]
    (tmp_path / os.fsdecode(b"d\xefr")).mkdir()
    for name in names:
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).write_bytes(name)
    found = listing(tmp_path)
    assert len(found) == len(names)
    assert "caf\u00e9.jpg" in found
    assert "caf\uefe9.jpg" in found
    for item in found.values():
        assert item.key.encode()
        assert item.uri.encode()
    assert {read_object(item.uri, 100) for item in found.values()} == set(names)
    inside = listing(tmp_path / os.fsdecode(b"d\xefr"))
    assert [read_object(item.uri, 100) for item in inside.values()] == [b"d\xefr/\xe9"]


def linked(tmp_path):
    """A source with links of every kind, those out of it to a folder beside it."""
    root, outside = tmp_path / "root", tmp_path / "outside"
    fill(root, ["a.jpg", "deep/b.jpg"])
    fill(outside, ["c.jpg", "sub/d.jpg"])
    (root / "link.jpg").symlink_to(outside / "c.jpg")
    (root / "album").symlink_to(outside)
    (root / "gone").symlink_to(outside / "nothing")
    (root / "deep/same.jpg").symlink_to("../a.jpg")
    (root / "deep/loop").symlink_to(root)
    (root / "deep/again").symlink_to("../deep")
    (root / "dangling").symlink_to("nothing")
    (root / "self").symlink_to("self")
    (outside / "sub/back").symlink_to(outside)
    (outside / "sub/home").symlink_to(root)
    return root


def test_links_out_of_the_source_are_rejected_and_not_looked_at(tmp_path):
    found = listing(linked(tmp_path))
    sound = {key for key, item in found.items() if item.problem is None}
    assert sound == {"a.jpg", "deep/b.jpg", "deep/same.jpg"}
    assert found["deep/same.jpg"].bytes == 5
    problems = {key: item.problem for key, item in found.items() if item.problem}
    assert {key for key in problems if "leads out of the source" in problems[key]} == {
        *("link.jpg", "album", "gone")
    }
    # Whether it is there at all is not said, nor how large it is or when it changed.
    link = found["link.jpg"]
    assert link.bytes == 0
    assert "follow_links" in link.problem
    assert link.etag == str((tmp_path / "root/link.jpg").lstat().st_mtime_ns)
    again = {"deep/loop", "deep/again"}
    assert all("under another name" in problems[key] for key in again)
    assert "leads nowhere: No such file" in problems["dangling"]
    assert set(problems) == {"link.jpg", "album", "gone", *again, "dangling", "self"}


def test_links_are_followed_when_asked_to_and_each_folder_is_listed_once(tmp_path):
    root = linked(tmp_path)
    found = {item.key: item for item in list_objects(root, follow_links=True)}
    assert len(found) == sum(1 for _ in list_objects(root, follow_links=True))
    sound = {key for key, item in found.items() if item.problem is None}
    inside = {"a.jpg", "deep/b.jpg", "deep/same.jpg"}
    assert sound == {*inside, "link.jpg", "album/c.jpg", "album/sub/d.jpg"}
    assert found["link.jpg"].bytes == 5
    assert read_object(found["album/c.jpg"].uri, 9) == b"c.jpg"
    problems = {key: item.problem for key, item in found.items() if item.problem}
    again = {"deep/loop", "deep/again", "album/sub/back/", "album/sub/home"}
    assert set(problems) == {*again, "dangling", "gone", "self"}
    assert all("under another name" in problems[key] for key in again)
    assert "leads nowhere: No such file" in problems["gone"]


def test_cross_linked_folders_end_and_agree_whatever_order_a_disk_names_them_in(
    tmp_path, monkeypatch
):
    """Each of eight folders links to all eight: followed by paths, the walk has 8! leaves."""
    root = tmp_path / "root"
    root.mkdir()
    for number in range(8):
        fill(tmp_path / f"outside{number}", [f"{number}.jpg", f"deep/{number}.png"])
    for number in range(8):
        (root / f"{number}").symlink_to(tmp_path / f"outside{number}")
        for other in range(8):
            link = tmp_path / f"outside{number}/to{other}"
            link.symlink_to(tmp_path / f"outside{other}" / ("deep" if other % 2 else ""))
    real = os.scandir

    class Ordered:
        """The entries of a folder, in an order of the test's."""

        def __init__(self, path):
            with real(path) as entries:
                self.entries = sorted(entries, key=lambda e: e.name, reverse=Ordered.backwards)

        def __enter__(self):
            return self

        def __iter__(self):
            return iter(self.entries)

        def __exit__(self, *_):
            return None

        def close(self):
            return None

    monkeypatch.setattr(sources.os, "scandir", Ordered)
    listings = []
    for Ordered.backwards in (False, True):
        found = list(list_objects(root, follow_links=True))
        sound = sorted(item.key for item in found if item.problem is None)
        contents = sorted(read_object(f"file://{root}/{key}", 99) for key in sound)
        assert contents == sorted(
            name.encode() for n in range(8) for name in (f"{n}.jpg", f"deep/{n}.png")
        )
        listings.append(sorted(found, key=lambda item: item.key))
    assert listings[0] == listings[1]


def test_a_file_that_came_to_lead_out_of_the_source_is_not_read(tmp_path):
    root, outside = tmp_path / "root", tmp_path / "outside"
    fill(root, ["a.jpg", "deep/b.jpg"])
    fill(outside, ["b.jpg"])
    (tmp_path / "source").symlink_to(root)
    source = f"file://{tmp_path}/source/"
    (root / "same.jpg").symlink_to("a.jpg")
    for key, content in (
        ("a.jpg", b"a.jpg"),
        ("same.jpg", b"a.jpg"),
        ("deep/b.jpg", b"deep/b.jpg"),
    ):
        assert read_object(source + key, 99, within=source) == content
    (root / "a.jpg").unlink()
    (root / "a.jpg").symlink_to(outside / "b.jpg")
    shutil.rmtree(root / "deep")
    (root / "deep").symlink_to(outside)
    for key in ("a.jpg", "same.jpg", "deep/b.jpg"):
        assert read_object(source + key, 99) == b"b.jpg"
        with pytest.raises(ObjectUnreadable, match="leads out of the source"):
            read_object(source + key, 99, within=source)


def test_a_source_reached_through_a_link(tmp_path):
    fill(tmp_path / "real", ["a.jpg", "b/c.jpg"])
    (tmp_path / "link").symlink_to(tmp_path / "real")
    found = listing(tmp_path / "link")
    assert set(found) == {"a.jpg", "b/c.jpg"}
    assert found["a.jpg"].uri == f"file://{tmp_path}/link/a.jpg"


def test_special_files_are_listed_and_never_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(tmp_path / "socket"))
    (tmp_path / "null").symlink_to("/dev/null")
    found = {item.key: item for item in list_objects(tmp_path, follow_links=True)}
    server.close()
    assert "named pipe" in found["pipe.jpg"].problem
    assert "socket" in found["socket"].problem
    assert "character device" in found["null"].problem
    for item in found.values():
        with pytest.raises(ObjectUnreadable):
            read_object(item.uri, 10)


def test_a_folder_without_permission_is_an_entry_of_its_own(tmp_path, monkeypatch):
    fill(tmp_path, ["a.jpg", "locked/b.jpg", "z/c.jpg"])
    locked = tmp_path / "locked"
    locked.chmod(0)
    if os.geteuid() == 0:  # whom no permission stops
        real = os.scandir

        def scandir(path):
            if Path(path) == locked:
                raise PermissionError(13, "Permission denied", str(path))
            return real(path)

        monkeypatch.setattr(sources.os, "scandir", scandir)
    found = listing(tmp_path)
    locked.chmod(0o700)
    assert set(found) == {"a.jpg", "locked/", "z/c.jpg"}
    assert found["locked/"].problem == "The folder cannot be listed: Permission denied."


def test_reading_stops_one_byte_beyond_the_limit(tmp_path):
    (tmp_path / "a").write_bytes(b"123456789")
    uri = f"file://{tmp_path}/a"
    assert read_object(uri, 4) == b"12345"
    assert read_object(uri, 9) == b"123456789"
    with pytest.raises(ObjectVanished, match="no longer there"):
        read_object(f"file://{tmp_path}/b", 9)
    with pytest.raises(ObjectUnreadable, match=r"not a regular file|Is a directory"):
        read_object(f"file://{tmp_path}", 9)


def test_a_large_folder_is_not_held_in_memory(tmp_path):
    """The peak of a process that lists 40,000 files stays where it was with 400."""
    program = """
import resource, sys
from idedup_tasks.sources import list_objects
count = sum(1 for _ in list_objects(sys.argv[1]))
print(count, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""

    def peak(count):
        folder = tmp_path / str(count)
        folder.mkdir()
        for number in range(count):
            (folder / f"{number:06}-{'x' * 100}.jpg").touch()
        command = [sys.executable, "-c", program, str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        listed, kilobytes = map(int, done.stdout.split())
        assert listed == count
        return kilobytes

    assert peak(40_000) < peak(400) + 8_000


# --- remote stores -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def s3():
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    options = {"key": "someone", "secret": SECRET, "endpoint_url": f"http://{host}:{port}"}
    filesystem = fsspec.filesystem("s3", **options)
    filesystem.mkdir("bucket")
    yield filesystem, options
    server.stop()


def test_s3(s3):
    filesystem, options = s3
    names = ["a.jpg", "b/c.png", "b/.d", "ünï cödé+%/名.jpg", "b//e.jpg"]
    for name in names:
        filesystem.pipe_file(f"bucket/set/{name}", name.encode())
    filesystem.pipe_file("bucket/set/empty", b"")
    filesystem.pipe_file("bucket/set2/other.jpg", b"x")
    filesystem.call_s3("put_object", Bucket="bucket", Key="set/marker/", Body=b"")
    found = listing("s3://bucket/set", **options)
    assert set(found) == {*names, "empty"}
    assert set(listing("s3://bucket/set/", **options)) == set(found)
    assert set(listing("s3://bucket", **options)) >= {"set/a.jpg", "set2/other.jpg"}
    for name in names:
        item = found[name]
        assert read_object(item.uri, 1000, options) == name.encode()
        assert item.bytes == len(name.encode())
        assert item.problem is None
        assert item.modified_at.utcoffset().total_seconds() == 0
        assert SECRET not in repr(item)
    assert found["a.jpg"].uri == "s3://bucket/set/a.jpg"
    assert found["a.jpg"].etag == filesystem.info("bucket/set/a.jpg")["ETag"].strip('"')
    assert read_object(found["b/c.png"].uri, 3, options) == b"b/c."
    assert read_object(found["empty"].uri, 3, options) == b""
    with pytest.raises(ObjectVanished):
        read_object("s3://bucket/set/gone", 3, options)


def test_s3_is_listed_page_by_page(s3, monkeypatch):
    filesystem, options = s3
    filesystem.mkdir("many")
    for number in range(25):
        filesystem.call_s3("put_object", Bucket="many", Key=f"{number:05}", Body=b"x")
    pages = []
    real = type(filesystem).call_s3

    def call_s3(self, method, **request):
        pages.append(method)
        return real(self, method, MaxKeys=10, **request)

    monkeypatch.setattr(type(filesystem), "call_s3", call_s3)
    objects = list_objects("s3://many", options)
    next(objects)
    assert pages == ["list_objects_v2"]
    assert 1 + sum(1 for _ in objects) == 25
    assert pages == ["list_objects_v2"] * 3


def test_an_unreachable_store_says_so_without_secrets(s3):
    _, options = s3
    with pytest.raises(SourceUnreachable, match="s3://no-such-bucket cannot be listed") as caught:
        list(list_objects("s3://no-such-bucket", options))
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{unused.getsockname()[1]}"
        options = {
            "key": "someone",
            "secret": SECRET,
            "endpoint_url": nobody,
            "config_kwargs": {"retries": {"max_attempts": 0}},
        }
        with pytest.raises(SourceUnreachable) as caught:
            list(list_objects("s3://bucket", options))
        assert SECRET not in str(caught.value)
        with pytest.raises(SourceUnreachable) as caught:
            read_object("s3://bucket/a.jpg", 10, options)
        assert SECRET not in str(caught.value)


def test_secrets_that_a_store_repeats_are_blanked_out():
    class Talkative(RuntimeError):
        pass

    text = sources.explain(
        Talkative(f"bad {SECRET} at https://me:pw@host/x?sv=1&sig=abc%3D&y=2\nline two"),
        {"client_kwargs": {"aws_secret_access_key": SECRET}},
    )
    assert text == "Talkative: bad *** at https://***@host/x?sv=1&sig=***&y=2 line two"


def test_other_stores_through_fsspec():
    filesystem = fsspec.filesystem("memory")
    for name in ["a.jpg", "b/c.png", "b/d/.e"]:
        filesystem.pipe_file(f"/listing/set/{name}", name.encode())
    filesystem.makedirs("/listing/set/nothing", exist_ok=True)
    found = listing("memory://listing/set")
    assert set(found) == {"a.jpg", "b/c.png", "b/d/.e"}
    for name, item in found.items():
        assert read_object(item.uri, 100) == name.encode()
        assert item.modified_at.tzinfo is UTC
        assert item.etag
    with pytest.raises(SourceUnreachable, match="memory://listing/none cannot be listed"):
        list(list_objects("memory://listing/none"))


def test_a_failing_subfolder_of_a_store_is_not_passed_over(monkeypatch):
    filesystem = fsspec.filesystem("memory")
    filesystem.pipe_file("/failing/good/a.jpg", b"a")
    filesystem.pipe_file("/failing/bad/b.jpg", b"b")
    real = type(filesystem).ls

    def ls(self, path, detail=True, **options):
        if path.endswith("/bad"):
            raise PermissionError("Forbidden")
        return real(self, path, detail=detail, **options)

    monkeypatch.setattr(type(filesystem), "ls", ls)
    with pytest.raises(SourceUnreachable, match="PermissionError: Forbidden"):
        list(list_objects("memory://failing"))


def test_passwords_in_urls_and_unknown_protocols_are_refused():
    with pytest.raises(ValueError, match="storage options") as caught:
        next(list_objects("ftp://me:hunter2@host/pictures"))
    assert "hunter2" not in str(caught.value)
    with pytest.raises(ValueError, match="nonsense:// is not a protocol"):
        next(list_objects("nonsense://bucket/pictures"))
