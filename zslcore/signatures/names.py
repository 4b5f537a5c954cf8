"""A class's name as people say it."""

import re


def readable(name: str) -> str:
    """A class's name as it stands in a sentence.

    >>> readable("001.Black_footed_Albatross"), readable("St._Bernard")
    ('Black footed Albatross', 'St. Bernard')
    """
    return re.sub(r"^\d+\.", "", name).replace("_", " ").strip()
