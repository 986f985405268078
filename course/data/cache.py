"""What is slow to make or to fetch is kept in a folder, and used only if its sha256 is as expected."""

import hashlib
import os
import tempfile
import warnings
from pathlib import Path

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # in a notebook tqdm, which pooch imports, asks for widgets
    import pooch


def folder() -> Path:
    """The book's cache folder: where the system keeps such things for this user. It may not exist yet.

    A user without a home, as a container may have, gets one in the system's folder for temporary files.
    """
    try:
        return pooch.os_cache("attention-twice")
    except (RuntimeError, KeyError, OSError):
        return Path(tempfile.gettempdir(), "attention-twice")


def read(path: Path, sha256: str) -> bytes | None:
    """The bytes of `path`; None if it cannot be read or, with a warning, if its sha256 is not `sha256`."""
    try:
        data = path.read_bytes()
    except OSError:
        return None
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        warnings.warn(f"{path} is damaged and not used: its sha256 is {found}, not {sha256}", stacklevel=3)
        return None
    return data


def keep(path: Path, data: bytes) -> None:
    """Write `data` to `path`, all of it or nothing; where the folder cannot be written, nothing is kept."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
            half = Path(file.name)
            try:
                file.write(data)
                file.close()  # Windows renames closed files only
                os.replace(half, path)
            finally:
                half.unlink(missing_ok=True)
    except OSError:
        pass  # a cache saves time, no more: the caller has the data already


def fetch(url: str, sha256: str) -> bytes:
    """Download a file; `ConnectionError` if it does not come, or comes damaged a second time."""
    for attempts_left in (1, 0):
        # A temporary folder: what is interrupted leaves nothing behind, and no cache needs to be writable.
        with tempfile.TemporaryDirectory() as temporary:
            try:
                path = pooch.retrieve(url, known_hash=f"sha256:{sha256}", fname="download", path=temporary)
                return Path(path).read_bytes()
            except (OSError, ValueError) as error:  # of the network; of pooch, for a wrong hash
                if isinstance(error, ValueError) and attempts_left:
                    warnings.warn(f"what came from {url} was damaged, fetching again: {error}", stacklevel=3)
                    continue
                why = f"{type(error).__name__}: {error}"
                raise ConnectionError(f"{url} could not be fetched ({why})") from None
