"""Tiny Shakespeare: a megabyte of the plays, the text on which everyone quotes a loss."""

import os
from pathlib import Path

from course.data import cache

URL = "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt"
SHA256 = "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"
NAME = "tinyshakespeare.txt"


def shakespeare() -> str:
    """Return Tiny Shakespeare, 1,115,394 characters of 65 kinds.

    It is looked for in the folder that the environment variable `TINYLLM_DATA` names, then in the book's
    cache folder, then on the network (`URL`). Bytes with another sha256 than `SHA256` are reported and never
    used. Raises `ConnectionError`, with what to do about it, when the text cannot be had.
    """
    kept = cache.folder() / NAME
    own = os.environ.get("TINYLLM_DATA")
    for path in ([Path(own) / NAME] if own else []) + [kept]:
        if data := cache.read(path, SHA256):
            return data.decode("utf-8")
    try:
        data = cache.fetch(URL, SHA256)
    except ConnectionError as error:
        raise ConnectionError(
            f"Tiny Shakespeare cannot be had: {error}.\n"
            f"Connect and try again, or save that file as {NAME} and let the environment variable "
            "TINYLLM_DATA name its folder.\nThe other two corpora, `tales` and `manuals`, need no network."
        ) from None  # the cause is in the message, and its traceback is six screens long
    cache.keep(kept, data)
    return data.decode("utf-8")
