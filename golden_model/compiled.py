"""Kernels compiled by numba, kept from one run to the next under a key of all that they are made from.

By itself numba looks only at the file that a kernel stands in: after an edit of a function that the kernel
calls, or of a tuple whose fields it reads, in another file, it would go on with the old code in silence.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import numba
from numba.core.caching import FunctionCache, IndexDataCacheFile

from .files import FileError, atomic_write, make_cache
from .provenance import ProvenanceError, provenance

__all__ = ["compiled"]

_config: Any = numba.config
_DIGEST_BYTES = hashlib.sha256().digest_size


class _CheckedFile(IndexDataCacheFile):
    """The files of a kernel, each with a digest at its end: what is damaged is compiled again.

    So is what cannot be read; and what cannot be written is not kept, which is no reason to end a run.
    """

    @contextmanager
    def _open_for_write(self, path: str) -> Iterator[IO[bytes]]:
        content = io.BytesIO()
        yield content
        body = content.getvalue()
        with atomic_write(path) as file:
            file.write(body + hashlib.sha256(body).digest())

    def save(self, key: Any, data: Any) -> None:
        with suppress(FileError):
            super().save(key, data)

    def _load_index(self) -> dict[Any, str]:
        return super()._load_index() if _is_whole(Path(self._index_path)) else {}

    def _load_data(self, name: str) -> Any:
        path = Path(self._data_path(name))
        if not _is_whole(path):
            raise OSError(f"{path}: damaged")  # numba then compiles it
        return super()._load_data(name)


def _is_whole(path: Path) -> bool:
    try:
        content = path.read_bytes()
    except OSError:
        return False
    return hashlib.sha256(content[:-_DIGEST_BYTES]).digest() == content[-_DIGEST_BYTES:]


def compiled(*, nogil: bool = False) -> Callable[[Callable[..., Any]], Any]:
    """Compile a function when it is first called, with ``numba.njit``.

    What is compiled is kept in the folder of ``files.cache_path``. It is not kept where that folder cannot be
    used, or where nobody can tell what the function is made from.

    Parameters
    ----------
    nogil : bool
        Let other threads run meanwhile.
    """

    def compile_kernel(function: Callable[..., Any]) -> Any:
        try:
            folder = make_cache() / f"numba-{provenance(function).key('')[:20]}"
            folder.mkdir(parents=True, exist_ok=True)
        except (OSError, FileError, ProvenanceError):
            return numba.njit(nogil=nogil)(function)
        before = _config.CACHE_DIR
        _config.CACHE_DIR = str(folder)  # numba looks here at the decoration, and only then
        try:
            kernel: Any = numba.njit(nogil=nogil)(function)
            kernel._cache = FunctionCache(function)
            kernel._cache._cache_file = _CheckedFile(
                cache_path=kernel._cache.cache_path,
                filename_base=kernel._cache._impl.filename_base,
                source_stamp=None,  # the folder's name says what it was compiled from
            )
            return kernel
        finally:
            _config.CACHE_DIR = before

    return compile_kernel
