"""Every HDF5 file of the project: its format, written atomically, with the same bytes for the same inputs.

An artifact carries root attributes `format`, `version`, `created_by`, `params` (JSON), `inputs` (JSON: path -> SHA-256)
and `libraries` (JSON). Nothing in it depends on the time or on the machine's name, so DVC sees equal files as equal.
"""

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from zslcore.errors import ZSLError

LIBRARIES = ("numpy", "h5py", "torch", "timm", "scikit-learn", "scipy", "pillow")


@dataclass(frozen=True)
class Format:
    """A kind of artifact: its name, its version, and the stage whose command rebuilds it."""

    name: str
    version: int
    stage: str


DATASET = Format("zsl-dataset", 1, "prepare")
FEATURES = Format("zsl-features", 1, "extract")
FINETUNED = Format("zsl-finetuned", 1, "finetune")
PROJECTED = Format("zsl-projected", 1, "train")
SYNTHETIC = Format("zsl-synthetic", 1, "generate")
SCORES = Format("zsl-scores", 1, "classify")


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it takes the final name, on failure it is removed.

    Raises ZSLError when the folder cannot be written or the disk is full; `path` is untouched then.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_orphans(path)
    except OSError as error:
        raise _write_error(path, error) from error
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        with open(temporary, "rb") as stream:
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise _write_error(path, error) from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def _remove_orphans(path: Path) -> None:
    """Remove temporary files of this output whose process is gone (killed in the middle of writing)."""
    for orphan in path.parent.glob(f".{path.name}.*.tmp"):
        match = re.fullmatch(r"(\d+)\.tmp", orphan.name.removeprefix(f".{path.name}."))
        if match and not Path(f"/proc/{match[1]}").exists() and Path("/proc").exists():
            orphan.unlink(missing_ok=True)


def _write_error(path: Path, error: OSError) -> ZSLError:
    reason = error.strerror or str(error)
    return ZSLError(f"{path}: cannot be written ({reason}); free disk space or check the permissions, then run again")


def write_text(path: Path, text: str) -> None:
    """Write a small text file (UTF-8) atomically."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write JSON with sorted keys, two spaces, a final newline: a diff shows what changed."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, default=_plain) + "\n")


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


def read_json(path: Path) -> Any:
    """Read a JSON file; ZSLError when it is missing or damaged."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ZSLError(f"{path}: no such file; run the stage that writes it (dvc repro)") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ZSLError(f"{path}: not valid JSON ({error}); delete it and run dvc repro") from error


def sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@cache
def library_versions() -> dict[str, str]:
    """Versions of the libraries whose arithmetic reaches an artifact."""
    versions = {}
    for name in LIBRARIES:
        with suppress(PackageNotFoundError):
            versions[name] = version(name)
    return versions


def provenance(
    format: Format, params: Mapping[str, Any], inputs: Mapping[str, Path] | None = None
) -> dict[str, str | int]:
    """The root attributes every artifact carries, HDF5 and safetensors alike."""
    hashes = {name: sha256(path) for name, path in (inputs or {}).items()}
    return {
        "format": format.name,
        "version": format.version,
        "created_by": format.stage,
        "params": json.dumps(params, sort_keys=True, default=_plain),
        "inputs": json.dumps(hashes, sort_keys=True),
        "libraries": json.dumps(library_versions(), sort_keys=True),
    }


@contextmanager
def create(
    path: Path, format: Format, params: Mapping[str, Any], inputs: Mapping[str, Path] | None = None
) -> Iterator[h5py.File]:
    """Create an artifact: yields an open HDF5 file that takes its final name only once complete.

    params: the resolved parameters it is made with. inputs: the files it is made from, by a stable name.
    Raises ZSLError when it cannot be written.
    """
    attributes = provenance(format, params, inputs)
    with atomic(Path(path)) as temporary:
        try:
            with h5py.File(temporary, "w", libver="v110") as file:
                file.attrs.update(attributes)
                yield file
        except RuntimeError as error:  # h5py reports a full disk at close as a RuntimeError
            raise OSError(str(error)) from error


@contextmanager
def open_artifact(path: Path, format: Format) -> Iterator[h5py.File]:
    """Open an artifact for reading, after checking that it is complete and of this format and version.

    Raises ZSLError that names the command which rebuilds it.
    """
    path = Path(path)
    again = f"run `dvc repro -s` for its {format.stage} stage to make it again"
    if not path.exists():
        raise ZSLError(f"{path}: no such file; {again}")
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        reason = "truncated or damaged" if h5py.is_hdf5(path) else "not an HDF5 file, or cut short"
        raise ZSLError(f"{path}: {reason}; {again}") from error
    with file:
        found, found_version = file.attrs.get("format"), file.attrs.get("version")
        if found != format.name:
            raise ZSLError(f"{path}: holds '{found}', expected '{format.name}'; {again}")
        if found_version != format.version:
            raise ZSLError(
                f"{path}: {format.name} version {found_version}, this program reads version {format.version}; {again}"
            )
        yield file


def save_tensors(
    path: Path,
    format: Format,
    tensors: Mapping[str, NDArray[Any]],
    params: Mapping[str, Any],
    inputs: Mapping[str, Path] | None = None,
) -> None:
    """Write named arrays as safetensors, atomically, with the same attributes as an HDF5 artifact."""
    metadata = {name: str(value) for name, value in provenance(format, params, inputs).items()}
    plain = {name: np.asarray(value, order="C") for name, value in sorted(tensors.items())}
    with atomic(Path(path)) as temporary:
        safetensors.numpy.save_file(plain, str(temporary), metadata=metadata)


def load_tensors(path: Path, format: Format) -> dict[str, NDArray[Any]]:
    """Read what `save_tensors` wrote. Raises ZSLError when it is missing, damaged, or of another format."""
    again = f"run `dvc repro -s` for its {format.stage} stage to make it again"
    try:
        with safetensors.safe_open(str(path), framework="numpy") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no iterator here
    except FileNotFoundError as error:
        raise ZSLError(f"{path}: no such file; {again}") from error
    except (OSError, safetensors.SafetensorError) as error:
        raise ZSLError(f"{path}: damaged, or not a safetensors file ({error}); {again}") from error
    if (metadata.get("format"), metadata.get("version")) != (format.name, str(format.version)):
        raise ZSLError(f"{path}: holds '{metadata.get('format')}' version {metadata.get('version')}; {again}")
    return tensors


def under(tensors: Mapping[str, NDArray[Any]], prefix: str) -> dict[str, NDArray[Any]]:
    """The arrays whose names start with `prefix`, without it. Raises ZSLError when there is none."""
    found = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
    if not found:
        raise ZSLError(f"no weights of '{prefix.rstrip('/')}' in the file; run dvc repro after changing the seeds")
    return found


def params(path: Path, format: Format) -> dict[str, Any]:
    """The parameters an HDF5 artifact was made with."""
    with open_artifact(path, format) as file:
        found: dict[str, Any] = json.loads(file.attrs["params"])
        return found


def array(file: h5py.File | h5py.Group, name: str, dtype: Any = None, ndim: int | None = None) -> NDArray[Any]:
    """Read one whole data set of an artifact.

    Raises ZSLError when it is absent, is no plain data set of this file, or has another type or rank.
    """
    return np.asarray(dataset(file, name, dtype, ndim)[()])


def dataset(file: h5py.File | h5py.Group, name: str, dtype: Any = None, ndim: int | None = None) -> h5py.Dataset:
    """One data set of an artifact, unread: checked to be stored in this very file with the claimed size."""
    where = f"{file.file.filename}: '{name}'"
    parent: Any = file
    for part in name.split("/"):
        if not isinstance(parent, h5py.Group) or not isinstance(parent.get(part, getlink=True), h5py.HardLink):
            raise ZSLError(f"{where} is missing, or is a link out of the file; make the file again with dvc repro")
        parent = parent[part]
    if not isinstance(parent, h5py.Dataset) or parent.external or parent.is_virtual:
        raise ZSLError(f"{where} is not stored in the file itself; make the file again with dvc repro")
    if ndim is not None and parent.ndim != ndim:
        raise ZSLError(f"{where} has {parent.ndim} dimensions, expected {ndim}; make the file again with dvc repro")
    if dtype is not None and not np.can_cast(parent.dtype, dtype, casting="same_kind"):
        raise ZSLError(f"{where} holds {parent.dtype}, expected {np.dtype(dtype)}; make the file again with dvc repro")
    return parent


def read_rows(source: h5py.Dataset, rows: NDArray[np.int64]) -> NDArray[Any]:
    """Rows of a data set, in the order asked for, touching no others: contiguous runs are read one by one."""
    order = np.argsort(rows, kind="stable")
    ordered = rows[order]
    out = np.empty((len(rows), *source.shape[1:]), dtype=source.dtype)
    starts = np.flatnonzero(np.diff(ordered, prepend=-2) != 1)
    for start, stop in zip(starts, [*starts[1:], len(ordered)], strict=True):
        out[order[start:stop]] = source[ordered[start] : ordered[stop - 1] + 1]
    return out


def strings(file: h5py.File | h5py.Group, name: str) -> tuple[str, ...]:
    """Read a data set of strings."""
    values = array(file, name, ndim=1)
    return tuple(value.decode("utf-8") if isinstance(value, bytes) else str(value) for value in values)


def put_strings(file: h5py.File | h5py.Group, name: str, values: tuple[str, ...]) -> None:
    """Write a data set of UTF-8 strings."""
    file.create_dataset(name, data=np.array(values, dtype=object), dtype=h5py.string_dtype())
