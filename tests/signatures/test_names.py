"""How a class is called in a sentence."""

import pytest

from zslcore.signatures.names import readable


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("001.Black_footed_Albatross", "Black footed Albatross"),
        ("St._Bernard", "St. Bernard"),
        ("Dr._Who", "Dr. Who"),
        ("012.St._Bernard", "St. Bernard"),
        ("owl", "owl"),
        ("747", "747"),
    ],
)
def test_only_a_number_in_front_is_dropped(name: str, said: str) -> None:
    assert readable(name) == said
