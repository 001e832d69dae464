"""Downloads: resumed after a break, checked, and nothing half-written under the true name."""

import errno
import hashlib
import subprocess
import sys
import threading

import pytest
import web

from sftlab.errors import AssetError
from sftlab.sets import download as module
from sftlab.sets.download import download

BIG = bytes(range(256)) * 12_000  # three megabytes
DIGEST = hashlib.sha256(BIG).hexdigest()


@pytest.fixture
def server(monkeypatch):
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(module.time, "sleep", lambda seconds: None)
    with web.serve() as found:
        found.files["big.bin"] = BIG
        yield found


def left(folder):
    return sorted(p.name for p in folder.iterdir() if not p.name.endswith(".lock"))


def test_first_from_the_web_second_from_disk(server, tmp_path):
    target = tmp_path / "new" / "big.bin"
    assert download(server.url("big.bin"), target, DIGEST) == target and target.read_bytes() == BIG
    assert download(server.url("big.bin"), target, DIGEST) == target
    assert server.log == [("big.bin", None)] and left(target.parent) == ["big.bin"]


def test_a_connection_that_breaks_is_taken_up_where_it_broke(server, tmp_path):
    server.breaks = [1_000_000, 500_000]
    assert download(server.url("big.bin"), tmp_path / "big.bin", DIGEST).read_bytes() == BIG
    starts = [int(wanted[6:-1]) if wanted else 0 for _, wanted in server.log]
    assert len(starts) == 3 and 0 == starts[0] < starts[1] < starts[2] and left(tmp_path) == ["big.bin"]


def test_what_arrived_is_kept_for_the_next_call(server, tmp_path):
    server.breaks = [400_000] * module.TRIES
    with pytest.raises(AssetError, match="bytes have arrived and are kept") as error:
        download(server.url("big.bin"), tmp_path / "big.bin", DIGEST)
    assert "Check the connection" in str(error.value) and not (tmp_path / "big.bin").exists()
    asked = len(server.log)
    assert download(server.url("big.bin"), tmp_path / "big.bin", DIGEST).read_bytes() == BIG
    assert server.log[asked][1] is not None and len(server.log) == asked + 1


def test_a_process_that_is_killed_is_taken_up(server, tmp_path):
    """kill -9 while the file comes; the next process asks for the rest only."""
    server.breaks = [1_000_000]
    code = (
        "import os, sys; from sftlab.sets import download as module\n"
        "module.time.sleep = lambda seconds: os.kill(os.getpid(), 9)\n"
        f"module.download({server.url('big.bin')!r}, {str(tmp_path / 'big.bin')!r}, {DIGEST!r})\n"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == -9
    assert "big.bin" not in left(tmp_path) and "big.bin.part" in left(tmp_path)
    assert download(server.url("big.bin"), tmp_path / "big.bin", DIGEST).read_bytes() == BIG
    assert len(server.log) == 2 and server.log[1][1] is not None


def test_another_file_on_the_server_begins_anew(server, tmp_path):
    """Two halves of two versions are never put together: the ETag tells."""
    server.breaks = [400_000] * module.TRIES
    with pytest.raises(AssetError):
        download(server.url("big.bin"), tmp_path / "big.bin", DIGEST)
    server.files["big.bin"] = new = BIG[::-1]
    digest = hashlib.sha256(new).hexdigest()
    assert download(server.url("big.bin"), tmp_path / "big.bin", digest).read_bytes() == new


def test_a_server_without_ranges(server, tmp_path):
    server.ranges, server.breaks = False, [1_000_000]
    assert download(server.url("big.bin"), tmp_path / "big.bin", DIGEST).read_bytes() == BIG


def test_an_altered_file_is_refused_and_deleted(server, tmp_path):
    server.files["big.bin"] = b"<html>please log in</html>"
    with pytest.raises(AssetError, match="not the file that was asked for") as error:
        download(server.url("big.bin"), tmp_path / "big.bin", DIGEST)
    assert DIGEST in str(error.value) and left(tmp_path) in ([], ["big.bin.part.json"])


def test_first_digits_of_a_digest_are_enough(server, tmp_path):
    assert download(server.url("big.bin"), tmp_path / "big.bin", DIGEST[:8]).is_file()
    with pytest.raises(AssetError):
        download(server.url("big.bin"), tmp_path / "other.bin", "00000000")


def test_the_server_says_no(server, tmp_path):
    with pytest.raises(AssetError, match="404"):
        download(server.url("none.bin"), tmp_path / "none.bin", DIGEST)
    assert len(server.log) == 1, "a refusal is not asked again"


def test_the_server_is_busy_for_a_moment(server, tmp_path):
    server.status = [503, 502]
    assert download(server.url("big.bin"), tmp_path / "big.bin", DIGEST).is_file()
    server.status = [500] * module.TRIES
    with pytest.raises(AssetError, match="500"):
        download(server.url("big.bin"), tmp_path / "other.bin", DIGEST)


def test_no_connection(server, tmp_path):
    with pytest.raises(AssetError, match="could not be fetched"):
        download("http://127.0.0.1:1/big.bin", tmp_path / "big.bin", DIGEST)
    assert left(tmp_path) == []


def test_offline(server, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(AssetError, match="nothing is downloaded"):
        download(server.url("big.bin"), tmp_path / "big.bin", DIGEST)
    assert server.log == []


def test_disk_full(server, tmp_path, monkeypatch):
    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(module.os, "fsync", full)
        with pytest.raises(AssetError, match="is full"):
            download(server.url("big.bin"), tmp_path / "big.bin", DIGEST)
    assert not (tmp_path / "big.bin").exists()
    assert download(server.url("big.bin"), tmp_path / "big.bin", DIGEST).read_bytes() == BIG


def test_two_at_a_time_fetch_once(server, tmp_path):
    found = []
    calls = [
        threading.Thread(target=lambda: found.append(download(server.url("big.bin"), tmp_path / "big.bin", DIGEST)))
        for _ in range(4)
    ]
    for call in calls:
        call.start()
    for call in calls:
        call.join()
    assert len(found) == 4 and len(server.log) == 1


def test_a_mirror_on_disk(server, tmp_path):
    (tmp_path / "mirror.bin").write_bytes(BIG)
    url = (tmp_path / "mirror.bin").as_uri()
    assert download(url, tmp_path / "big.bin", DIGEST).read_bytes() == BIG
