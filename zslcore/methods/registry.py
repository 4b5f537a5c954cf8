"""Every method by name, or as "module:class"; classes are imported only when asked for.

Adding one is its file and one line here, or an entry point of the group `zslcore.methods` in another package.
"""

import inspect
import re
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, cast

from zslcore.errors import ZSLError, first_line, unknown
from zslcore.methods.base import Method

METHODS: dict[str, str] = {
    "ale": "zslcore.methods.ale:ALE",
    "apn": "zslcore.methods.apn:APN",
    "aren": "zslcore.methods.aren:AREN",
    "attribute-attention": "zslcore.methods.attribute_attention:AttributeAttention",
    "attribute-maps": "zslcore.methods.attribute_maps:AttributeMaps",
    "bidilel": "zslcore.methods.bidilel:BiDiLEL",
    "cada-vae": "zslcore.methods.cada_vae:CADAVAE",
    "cdl": "zslcore.methods.cdl:CDL",
    "ce-gzsl": "zslcore.methods.ce_gzsl:CEGZSL",
    "clusterable": "zslcore.methods.clusterable.estimator:Clusterable",
    "cn": "zslcore.methods.cn:CN",
    "conse": "zslcore.methods.conse:ConSE",
    "cvae-zsl": "zslcore.methods.cvae_zsl:CVAEZSL",
    "dap": "zslcore.methods.dap:DAP",
    "dem": "zslcore.methods.dem:DEM",
    "devise": "zslcore.methods.devise:DeViSE",
    "eszsl": "zslcore.methods.eszsl:ESZSL",
    "f-clswgan": "zslcore.methods.f_clswgan:FCLSWGAN",
    "f-vaegan-d2": "zslcore.methods.f_vaegan_d2:FVAEGAN",
    "gfzsl": "zslcore.methods.gfzsl:GFZSL",
    "gfzsl-transductive": "zslcore.methods.gfzsl:TransductiveGFZSL",
    "iap": "zslcore.methods.iap:IAP",
    "jgm-zsl": "zslcore.methods.jgm_zsl:JGMZSL",
    "jlse": "zslcore.methods.jlse:JLSE",
    "lad": "zslcore.methods.lad:LAD",
    "latem": "zslcore.methods.latem:LATEM",
    "lisgan": "zslcore.methods.lisgan:LisGAN",
    "metric-learning": "zslcore.methods.metric_learning.estimator:MetricLearning",
    "ocd": "zslcore.methods.ocd:OCD",
    "rff-gzsl": "zslcore.methods.rff_gzsl:RFFGZSL",
    "sae": "zslcore.methods.sae:SAE",
    "se-zsl": "zslcore.methods.se_zsl:SEZSL",
    "sje": "zslcore.methods.sje:SJE",
    "sse": "zslcore.methods.sse:SSE",
    "sync": "zslcore.methods.sync:SYNC",
    "tf-vaegan": "zslcore.methods.tf_vaegan:TFVAEGAN",
}


GROUP = "zslcore.methods"
"""The entry points of other packages whose methods are known by name too."""


def targets() -> dict[str, str]:
    """Name -> "module:class" of every known method: those here, and the entry points of installed packages."""
    return {**{entry.name: entry.value for entry in entry_points(group=GROUP)}, **METHODS}


def names() -> list[str]:
    """Every known name, sorted."""
    return sorted(targets())


def target(name: str) -> str:
    """The "module:class" of a method, by its name or as it is. Raises ZSLError for an unknown name."""
    if ":" in name:
        return name
    if name in METHODS:
        return METHODS[name]  # without looking through every installed package
    known = targets()
    if name not in known:
        raise unknown("method", name, known)
    return known[name]


def get(name: str) -> type[Method[Any]]:
    """The class of a method, by its name or as "module:class".

    Raises ZSLError for an unknown name, with the nearest known one, and where there is no such class, or it is no
    method whose results can stand under its name.
    """
    module, _, attribute = target(name).partition(":")
    try:
        imported = import_module(module)
    except ImportError as error:
        raise ZSLError(
            f"method '{name}': module '{module}' cannot be imported ({first_line(error)}); install the package it is "
            "in, or add its folder to PYTHONPATH"
        ) from error
    except (SyntaxError, TypeError, ValueError) as error:
        raise ZSLError(f"method '{name}': module '{module}' cannot be imported ({first_line(error)})") from error
    if not hasattr(imported, attribute):
        classes = [key for key, value in vars(imported).items() if inspect.isclass(value)]
        raise ZSLError(f"method '{name}': module '{module}': {unknown('class', attribute, classes)}")
    method = getattr(imported, attribute)
    _check(name, method)
    return cast(type[Method[Any]], method)


def _check(asked: str, method: Any) -> None:
    if not (inspect.isclass(method) and issubclass(method, Method)):
        raise ZSLError(f"method '{asked}': not a subclass of zslcore.methods.base.Method")
    if missing := sorted(method.__abstractmethods__):
        raise ZSLError(f"method '{asked}': the class lacks {', '.join(missing)}; see zslcore.methods.base.Method")
    if missing := [attribute for attribute in ("name", "Settings") if not hasattr(method, attribute)]:
        raise ZSLError(f"method '{asked}': the class does not set {', '.join(missing)}")
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", method.name):
        raise ZSLError(f"method '{asked}': name '{method.name}' is not of small letters, digits and single hyphens")
    known = targets().get(method.name)
    if known not in (None, f"{method.__module__}:{method.__qualname__}"):
        raise ZSLError(f"method '{asked}': name '{method.name}' belongs to {known}; set another `name` in the class")
    if ":" not in asked and asked != method.name:
        raise ZSLError(f"method '{asked}': its class calls itself '{method.name}'; make the two names the same")
