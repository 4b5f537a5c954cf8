"""The feature store: what it notes costs the same however many images are wanted."""

from zslcore.features.sources import ImageRef
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
