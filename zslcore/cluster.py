"""The Ray cluster that long work may run on."""

from types import ModuleType

from zslcore.errors import ZSLError


def connect(address: str | None = None) -> ModuleType:
    """Ray, connected to the cluster at `address` (None: the one RAY_ADDRESS names, else one started here).

    Raises ZSLError when Ray is not installed or the cluster cannot be reached.
    """
    try:
        import ray
    except ImportError as error:
        raise ZSLError("engine ray: Ray is not installed; pip install 'zslcore[ray]'") from error
    if not ray.is_initialized():
        try:
            ray.init(address=address, log_to_driver=False)
        except ConnectionError as error:
            raise ZSLError(f"no Ray cluster at {address}: {error}; start one with `ray start --head`") from error
    return ray
