"""`zsl`, `python -m zslcore`: the commands, which the wheel has as `zslcore.stages` and a checkout as `stages`."""

from importlib import import_module
from importlib.util import find_spec


def main() -> None:
    """Run the command line."""
    import_module("zslcore.stages.cli" if find_spec("zslcore.stages") else "stages.cli").main()


if __name__ == "__main__":
    main()
