"""The label spaces that clients describe: models with other classes, by content, the last few of them."""

import asyncio
import hashlib
import json
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from zslcore.model.model import Model
from zslcore.serving.limits import Limits, busy
from zslcore.serving.namer import Namer

WAITING = 4
"""Label spaces that may wait to be made: each takes up to seconds of a core."""


class LabelSpaces:
    """What one client adds, another does not see: a label space is known to those who know its name or its content."""

    def __init__(self, model: Model, namer: Namer, limits: Limits) -> None:
        self.model, self.namer, self.limits = model, namer, limits
        self.made: OrderedDict[str, Model] = OrderedDict()
        self.one_at_a_time, self.waiting = asyncio.Lock(), 0

    def __getitem__(self, name: str | None) -> Model:
        """The model of a label space; None: the model as it was packaged. Raises KeyError for one that is forgotten."""
        if name is None:
            return self.model
        self.made.move_to_end(name)
        return self.made[name]

    async def add(self, classes: Mapping[str, Any], replace: bool) -> str:
        """The name of the label space with these classes, made unless it is there.

        classes, replace: as of `Model.with_classes`. Raises ZSLError as it does; 503 when too many wait.
        """
        content = json.dumps([classes, replace], sort_keys=True).encode()
        name = hashlib.sha256(content).hexdigest()[:16]
        if self.waiting >= WAITING:
            raise busy(f"{self.waiting} label spaces are being made")
        self.waiting += 1
        try:
            async with self.one_at_a_time:
                if name not in self.made:
                    self.made[name] = await asyncio.to_thread(self._make, classes, replace)
        finally:
            self.waiting -= 1
        self.made.move_to_end(name)
        while len(self.made) > self.limits.label_spaces:
            self.made.popitem(last=False)
        return name

    def _make(self, classes: Mapping[str, Any], replace: bool) -> Model:
        model = self.model.with_classes(classes, replace)
        self.namer.warm(model)
        return model
