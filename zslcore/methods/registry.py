"""Every method by name. Adding one is its file and one line here; classes are imported only when asked for."""

from importlib import import_module

from zslcore.errors import unknown
from zslcore.methods.base import Method

METHODS: dict[str, str] = {
    "ale": "zslcore.methods.ale:ALE",
    "bidilel": "zslcore.methods.bidilel:BiDiLEL",
    "cada-vae": "zslcore.methods.cada_vae:CADAVAE",
    "cdl": "zslcore.methods.cdl:CDL",
    "ce-gzsl": "zslcore.methods.ce_gzsl:CEGZSL",
    "clusterable": "zslcore.methods.clusterable:Clusterable",
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
    "metric-learning": "zslcore.methods.metric_learning:MetricLearning",
    "ocd": "zslcore.methods.ocd:OCD",
    "rff-gzsl": "zslcore.methods.rff_gzsl:RFFGZSL",
    "sae": "zslcore.methods.sae:SAE",
    "se-zsl": "zslcore.methods.se_zsl:SEZSL",
    "sje": "zslcore.methods.sje:SJE",
    "sse": "zslcore.methods.sse:SSE",
    "sync": "zslcore.methods.sync:SYNC",
    "tf-vaegan": "zslcore.methods.tf_vaegan:TFVAEGAN",
}


def target(name: str) -> str:
    """The "module:class" of a method. Raises ZSLError for an unknown name, with the nearest known one."""
    if name not in METHODS:
        raise unknown("method", name, METHODS)
    return METHODS[name]


def get(name: str) -> type[Method]:
    """The class of a method. Raises ZSLError for an unknown name, with the nearest known one."""
    module, _, attribute = target(name).partition(":")
    found: type[Method] = getattr(import_module(module), attribute)
    return found
