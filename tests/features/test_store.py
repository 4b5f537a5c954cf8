"""The feature store: what it notes costs the same however many images are wanted, and no part of it is lost."""

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import numpy as np
import pytest

from zslcore.errors import ZSLError
from zslcore.features import store as module
from zslcore.features.image_sources import ImageRef
from zslcore.features.store import Outcome, open_store


def steps_of_an_unreadable_image(count: int) -> int:
    """Hundreds of steps of SQLite's machine that noting one of so many wanted images takes."""
    images = [ImageRef(f"{row}.png", f"/{row}.png", b"%d" % row) for row in range(count)]
    steps = 0

    def step() -> int:
        nonlocal steps
        steps += 1
        return 0

    with open_store(None) as store:
        assert store.want(images) == (count, count)
        store._db.set_progress_handler(step, 100)
        store.commit(images[-1:], [Outcome(None, None, "gone")])
        store._db.set_progress_handler(None, 100)
        assert [reason for _, _, reason in store.results()] == [None] * (count - 1) + ["gone"]
    return steps


def test_an_unreadable_image_is_found_without_a_scan():
    assert steps_of_an_unreadable_image(20_000) <= steps_of_an_unreadable_image(20) + 1


def image(name: bytes) -> tuple[ImageRef, Outcome]:
    return ImageRef(name.decode(), "/", b"token " + name), Outcome(name, np.full(2, len(name), np.float32))


def test_parts_are_joined_at_the_end_and_those_of_a_killed_run_by_the_next(tmp_path):
    path = tmp_path / "a.sqlite"
    pairs = [image(b"a"), image(b"bb"), image(b"ccc")]
    images = [reference for reference, _ in pairs]
    left = tmp_path / "a.parts" / "killed"
    with open_store(path) as store:
        store.want(images)
        with store.parts() as folder:
            with open_store(folder / "1.sqlite") as part:
                part.keep([pairs[0][1], Outcome(b"damaged", reason="cut short")])
            with open_store(path) as another:  # it leaves a locked folder alone
                another.join_left()
                assert folder.exists()
            assert not store.knows(b"a")
        assert all(map(store.knows, (b"a", b"damaged")))
        assert not folder.exists()
        store.commit(images[1:2], [Outcome(b"bb")])  # its features are in a part that the kill below leaves behind
        left.mkdir(parents=True)
        with open_store(left / "2.sqlite") as part:
            part.keep([pairs[1][1]])
        (left / "3.sqlite").touch()  # killed before it was begun
        sqlite3.connect(left / "4.sqlite").close()
    (tmp_path / "a.parts" / ".DS_Store").touch()
    with open_store(path) as store:
        assert left.exists(), "opened to look at only"
        store.join_left()
        assert [place.name for place in left.parent.iterdir()] == [".DS_Store"]
        assert store.want(images) == (3, 2), "a and ccc: which file a is was never said"
        assert [values for _, values, _ in store.results()][1].tolist() == [2, 2]


def test_images_whose_features_lie_in_a_part_are_known(tmp_path):
    reference, outcome = image(b"a")
    with open_store(tmp_path / "a.sqlite") as store:
        store.commit([reference], [outcome._replace(features=None)])
        assert store.knows(b"a")
        assert not store.knows(b"bb")


def use_parts(path):
    for number in range(60):
        with open_store(path) as store:
            store.join_left()
            with store.parts() as folder, open_store(folder / "1.sqlite") as part:
                part.keep([image(b"%d" % number)[1]])


def test_runs_at_once_on_one_store_lose_nothing(tmp_path):
    path = tmp_path / "a.sqlite"
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(use_parts, [path] * 3))
    with open_store(path) as store:
        assert all(store.knows(b"%d" % number) for number in range(60))
    assert not list((tmp_path / "a.parts").iterdir())


def test_an_image_whose_features_are_lost_is_computed_again(tmp_path):
    reference, outcome = image(b"a")
    with open_store(tmp_path / "a.sqlite") as store:
        store.commit([reference], [Outcome(outcome.key)])
        assert store.want([reference]) == (1, 1)


def test_a_store_that_another_process_keeps_to_itself(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "LOCKED_SECONDS", 0.01)
    path = tmp_path / "a.sqlite"
    with open_store(path):
        pass
    with closing(sqlite3.connect(path)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(
            ZSLError, match=r"a\.sqlite: cannot be used \(database is locked\); another run has it: wait"
        ):
            open_store(path).__enter__()


@pytest.mark.parametrize(
    ("pragma", "message"),
    [
        ("max_page_count = 1", r"database or disk is full\); free disk space there"),
        ("query_only = 1", r"readonly database\); check the permissions of the file and its folder$"),
    ],
)
def test_a_store_that_cannot_be_written(pragma, message, tmp_path):
    path = tmp_path / "a.sqlite"

    def write():
        with open_store(path) as store:
            store._db.execute(f"PRAGMA {pragma}")
            store.keep([Outcome(b"a", np.zeros(10**4, np.float32))])

    with pytest.raises(ZSLError, match=message):
        write()
    with open_store(path) as store:
        assert not store.knows(b"a")


def test_a_store_that_cannot_be_opened(tmp_path):
    with pytest.raises(ZSLError, match=r"unable to open database file\); check the permissions"):
        open_store(tmp_path).__enter__()
