"""Every method by name. Adding one is its file and one line here; classes are imported only when asked for."""

from importlib import import_module

from zslcore.errors import unknown
from zslcore.methods.base import Method

METHODS: dict[str, str] = {
    "clusterable": "zslcore.methods.clusterable:Clusterable",
    "metric-learning": "zslcore.methods.metric_learning:MetricLearning",
    "eszsl": "zslcore.methods.eszsl:ESZSL",
}


def get(name: str) -> type[Method]:
    """The class of a method. Raises ZSLError for an unknown name, with the nearest known one."""
    if name not in METHODS:
        raise unknown("method", name, METHODS)
    module, _, attribute = METHODS[name].partition(":")
    found: type[Method] = getattr(import_module(module), attribute)
    return found
