"""Coverage-guided fuzzing of what reads other people's files: `python fuzz/importers.py mat -max_total_time=60`.

Options are libFuzzer's. A find is an exception other than ZSLError, ten seconds, 1 GiB, or a crash; the input that does
it is left in the current folder. Put it into `tests/datasets/finds/<target>/`, where a test reads it ever after.
"""

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["zslcore"]):
    import targets

LIMITS = ("-timeout=10", "-rss_limit_mb=1024", "-max_len=4096")


def main() -> None:
    """Fuzz the target named first."""
    name, *options = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        seeds, path = Path(folder) / "seeds", Path(folder) / "input"
        seeds.mkdir()
        for number, content in enumerate(targets.seeds(name)):
            (seeds / str(number)).write_bytes(content)
        atheris.Setup([sys.argv[0], *LIMITS, *options, str(seeds)], lambda data: targets.TARGETS[name](path, data))
        atheris.Fuzz()


if __name__ == "__main__":
    main()
