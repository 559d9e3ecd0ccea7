"""Files that are written whole or not at all, and errors that say what to do."""

import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader, BufferedWriter
from pathlib import Path

BLOCK = 1 << 20
REMEDIES = {
    errno.ENOENT: "Check the path, and that its folder exists",
    errno.ENOTDIR: "Check the path: one of its folders is a file",
    errno.EISDIR: "Pass the path of a file, not of a folder",
    errno.EINVAL: "Pass the path of an ordinary file",
    errno.EACCES: "Pass a path that you may read and write",
    errno.EPERM: "Pass a path that you may read and write",
    errno.EROFS: "Pass a path that you may read and write",
    errno.ENOSPC: "Free space there, or pass a path on another disk",
    errno.EDQUOT: "Free space there, or pass a path on another disk",
    errno.EFBIG: "Raise the limit of the size of files, or pass another disk",
    errno.ENAMETOOLONG: "Pass a shorter path",
}


def reserve_space(path: str | os.PathLike[str], n_bytes: int) -> None:
    """Find out now whether a file could be written later.

    Parameters
    ----------
    path : path-like
    n_bytes : int
        Its size. As much is taken beside it for a moment.

    Raises
    ------
    OSError
        If its folder is missing, full or not writable, or the path is no file.
    """
    with explained(path), _beside(_find_target(path)) as (file, _):
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, max(n_bytes, 1))
            return
        for start in range(0, n_bytes, BLOCK):
            file.write(bytes(min(BLOCK, n_bytes - start)))
        file.flush()
        os.fsync(file.fileno())


def _find_target(path: str | os.PathLike[str]) -> tuple[Path, int | None]:
    """File that a path stands for, and its permissions if it is there.

    Refuses devices, pipes and folders, and what an ordinary ``open`` could not write.
    """
    target = Path(os.path.realpath(path))
    try:
        found = target.stat()
    except FileNotFoundError:
        return target, None
    _check_regular(found.st_mode)
    if not os.access(target, os.W_OK):
        raise PermissionError(errno.EACCES, "The file there is read-only")
    return target, stat.S_IMODE(found.st_mode)


def _check_regular(mode: int) -> None:
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, "There is a folder")
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "There is a device, pipe or socket")


@contextmanager
def open_regular(path: str | os.PathLike[str]) -> Iterator[BufferedReader]:
    _check_regular(os.stat(os.fspath(path)).st_mode)  # to open a pipe would wait
    with open(path, "rb") as file:
        yield file


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BufferedWriter]:
    """A file that takes the place of another one when the block has ended well."""
    target, mode = _find_target(path)
    with _beside((target, mode)) as (file, name):
        yield file
        file.flush()
        os.fsync(file.fileno())
        file.close()
        os.replace(name, target)
    if os.name == "posix":
        _sync_folder(target.parent)


@contextmanager
def _beside(target: tuple[Path, int | None]) -> Iterator[tuple[BufferedWriter, Path]]:
    """New file in the same folder, which is gone after the block unless renamed."""
    path, mode = target
    name = path.with_name(f".{path.name[:40]}.{secrets.token_hex(8)}.tmp")
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_BINARY", 0)
    descriptor = os.open(name, flags, 0o666)
    try:
        with open(descriptor, "wb") as file:
            if mode is not None:
                os.chmod(name, mode)
            yield file, name
    finally:
        name.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Make a rename last, where the file system knows of that."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


@contextmanager
def explained(path: str | os.PathLike[str]) -> Iterator[None]:
    """Errors of the system with the path that was given, and a remedy."""
    try:
        yield
    except OSError as error:
        remedy = REMEDIES.get(error.errno or 0, "Check the disk, and the path")
        message = f"{error.strerror}. {remedy}"
        raise type(error)(error.errno, message, os.fspath(path)) from error
