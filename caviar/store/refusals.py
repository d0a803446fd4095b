"""What an object store's client raises, as the errors of the operating system that the store knows."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    PermissionDeniedError,
    PreconditionError,
    UnauthenticatedError,
)

from caviar.errors import OutageError
from caviar.store.storage import NO_BUCKET

_STATUS = re.compile(r"non-2xx status code: (\d{3})")
_CODE = re.compile(r"<Code>(\w+)</Code>")
_CAUSE = re.compile(r'(?:message|error): "([^"]+)"')
_OF_CREDENTIALS = ("/latest/api/token", "/latest/meta-data", "/computeMetadata/")
"""A request to one of these: there were no credentials but those that the machine itself might have."""

NO_CREDENTIALS = (
    "no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (files in ~/.aws are not read), or for gs:// "
    "GOOGLE_APPLICATION_CREDENTIALS"
)
BUSY = (408, 429)


@contextmanager
def as_os_errors(where: str) -> Iterator[None]:
    """Raise what the client raises in the block as an `OSError` that names the place: `FileNotFoundError`,
    `FileExistsError`, `PermissionError`, or `OutageError` where it may work later."""
    try:
        yield
    except (BaseError, FileNotFoundError) as error:
        raise _os_error(error, where) from error


def _os_error(error: Exception, where: str) -> OSError:
    text = str(error)
    found, code = _STATUS.search(text), _CODE.search(text)
    status = int(found[1]) if found else None
    answer = f"{status} {code[1]}" if code else str(status)
    if any(path in text for path in _OF_CREDENTIALS):
        return PermissionError(errno.EACCES, NO_CREDENTIALS, where)
    if isinstance(error, AlreadyExistsError | PreconditionError):
        return FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), where)
    if isinstance(error, PermissionDeniedError | UnauthenticatedError) or status in (401, 403):
        return PermissionError(errno.EACCES, f"the object store does not permit it ({answer})", where)
    if isinstance(error, FileNotFoundError) or status == 404:
        missing = NO_BUCKET if code and code[1] == "NoSuchBucket" else os.strerror(errno.ENOENT)
        return FileNotFoundError(errno.ENOENT, missing, where)
    if status is not None:
        kind = OutageError if status >= 500 or status in BUSY else OSError
        return kind(errno.EIO, f"the object store answered {answer}", where)
    if "BadScheme" in text:
        return OSError(errno.EINVAL, "the endpoint is not https:// (AWS_ALLOW_HTTP=true allows that)", where)
    if "HTTP error" in text:
        cause = "it does not answer in time" if "TimedOut" in text else (_CAUSE.findall(text) or ["no answer"])[-1]
        return OutageError(errno.EIO, f"the object store cannot be reached: {cause}", where)
    return OSError(errno.EIO, text.splitlines()[0], where)
