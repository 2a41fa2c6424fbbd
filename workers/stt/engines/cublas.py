"""cuBLAS for CTranslate2, where pip put it."""

import ctypes
from importlib.metadata import PackageNotFoundError, files

from shared.gpu import NoGpu

_PACKAGE = "nvidia-cublas-cu12"
_LIBRARIES = ("libcublasLt.so.12", "libcublas.so.12")  # the second needs the first


def load_cublas() -> None:
    """Loads the library that CTranslate2 multiplies with on a GPU; the only one that it lacks.

    CTranslate2 asks the system for it by its name alone, and the system does not look into
    Python's packages. What a process has loaded already it has by that name, though, so nobody
    needs to set LD_LIBRARY_PATH. torch brings the next CUDA's, of another name.

    Raises:
        NoGpu: it is neither in its package nor where the system looks.
    """
    try:
        paths = {file.name: str(file.locate()) for file in files(_PACKAGE) or ()}
    except PackageNotFoundError:
        paths = {}
    for name in _LIBRARIES:
        try:
            ctypes.CDLL(paths.get(name, name), mode=ctypes.RTLD_GLOBAL)
        except OSError as error:
            raise NoGpu(
                f"Whisper on a GPU needs CUDA 12's cuBLAS, and {name} cannot be loaded ({error}):"
                f" install {_PACKAGE}, which Parley's extra `gpu` has, or set PARLEY_DEVICE=cpu"
            ) from error
