"""Kernels compiled by numba, kept from one run to the next under a key of all that they are made from.

By itself numba looks only at the file that a kernel stands in: after an edit of a function that the kernel
calls, or of a tuple whose fields it reads, in another file, it would go on with the old code in silence.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba

from .files import cache_path
from .provenance import ProvenanceError, provenance

__all__ = ["compiled"]

_config: Any = numba.config


def compiled(*, nogil: bool = False) -> Callable[[Callable[..., Any]], Any]:
    """Compile a function when it is first called, with ``numba.njit``.

    What is compiled is kept in the folder of ``files.cache_path``. It is not kept where that folder cannot be
    written, or where nobody can tell what the function is made from.

    Parameters
    ----------
    nogil : bool
        Let other threads run meanwhile.
    """

    def compile_kernel(function: Callable[..., Any]) -> Any:
        try:
            folder = cache_path() / f"numba-{provenance(function).key('')[:20]}"
            folder.mkdir(parents=True, exist_ok=True)
        except (OSError, ProvenanceError):
            return numba.njit(nogil=nogil)(function)
        before = _config.CACHE_DIR
        _config.CACHE_DIR = str(folder)  # numba looks here at the decoration, and only then
        try:
            return numba.njit(cache=True, nogil=nogil)(function)
        finally:
            _config.CACHE_DIR = before

    return compile_kernel
