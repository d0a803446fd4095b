"""Clients of object stores: which there are, what they are to know, and one for each bucket and process."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from obstore.exceptions import BaseError
from obstore.store import GCSStore, S3Store

from caviar.errors import FolderError
from caviar.store.place import Url

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig, S3Credential

Client: TypeAlias = S3Store | GCSStore

Settings: TypeAlias = Mapping[str, str]
"""Environment variables that say how to reach an object store, secrets among them."""

# What the operating system of one machine provides (roles, token files, metadata services) each machine has itself
_CARRIED = {
    "s3": (
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "AWS_REGION",
        "AWS_DEFAULT_REGION",
        "AWS_ENDPOINT_URL_S3",
        "AWS_ENDPOINT_URL",
        "AWS_ENDPOINT",
        "AWS_ALLOW_HTTP",
        "AWS_VIRTUAL_HOSTED_STYLE_REQUEST",
        "AWS_SKIP_SIGNATURE",
        "AWS_UNSIGNED_PAYLOAD",
        "AWS_REQUEST_PAYER",
        "AWS_CHECKSUM_ALGORITHM",
        "AWS_SERVER_SIDE_ENCRYPTION",
        "AWS_SSE_KMS_KEY_ID",
        "AWS_SSE_BUCKET_KEY_ENABLED",
    ),
    "gs": (
        "GOOGLE_SERVICE_ACCOUNT_KEY",
        "GOOGLE_SERVICE_ACCOUNT",
        "GOOGLE_APPLICATION_CREDENTIALS",
        "GOOGLE_SKIP_SIGNATURE",
    ),
}
SCHEMES = tuple(_CARRIED)

_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
_KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
_APART = (*_ENDPOINTS, *_KEYS, "AWS_SESSION_TOKEN", "AWS_ALLOW_HTTP")
"""Not handed on by their names."""

# A request that fails is tried again for seconds; whoever asked knows better what to do meanwhile
RETRY: RetryConfig = {
    "max_retries": 3,
    "retry_timeout": timedelta(seconds=5),
    "backoff": {"init_backoff": timedelta(milliseconds=100), "max_backoff": timedelta(seconds=1), "base": 2},
}
CONNECT_S = 3
REQUEST_S = 30
"""So long one request may take, which carries at most some megabytes, or a part of a table."""

_clients: dict[tuple[str, frozenset[tuple[str, str]]], Client] = {}
os.register_at_fork(after_in_child=_clients.clear)  # their threads are not in the child


def settings(url: Url) -> dict[str, str]:
    """What this process's environment says about the object store of ``url``; for processes that lack it."""
    scheme = url.partition(":")[0]
    found = {name: os.environ[name] for name in _CARRIED.get(scheme, ()) if os.environ.get(name)}
    file = found.get("GOOGLE_APPLICATION_CREDENTIALS")
    if file is not None and (key := _service_account(file)) is not None:
        del found["GOOGLE_APPLICATION_CREDENTIALS"]
        found["GOOGLE_SERVICE_ACCOUNT_KEY"] = key
    return found


def client(url: Url, given: Settings | None = None) -> tuple[Client, str]:
    """The client of a URL's bucket, and what of the URL comes after the bucket. ``given`` None: as this process's
    environment says. `FolderError` where the URL, or what is set, cannot work; asks no server."""
    scheme, _, rest = url.partition("://")
    bucket, _, prefix = rest.partition("/")
    if scheme not in SCHEMES:
        known = " or ".join(f"{name}://" for name in SCHEMES)
        raise FolderError(f"{url}: unknown scheme {scheme!r}; a sweep lies in a folder, or at {known}")
    if not bucket:
        raise FolderError(f"{url}: names no bucket, as in {scheme}://bucket/runs/digits")
    if any(segment in ("", ".", "..") for segment in prefix.split("/")) and prefix:
        raise FolderError(f"{url}: has a part that is empty, '.' or '..'")
    known_settings = settings(url) if given is None else given
    name = (f"{scheme}://{bucket}", frozenset(known_settings.items()))
    if name not in _clients:
        make = _s3 if scheme == "s3" else _gs
        try:
            _clients[name] = make(bucket, known_settings)
        except (BaseError, ValueError) as error:
            said = str(error).splitlines()[0].rpartition(" error: ")[2]  # "Generic S3 error: ..."
            raise FolderError(f"{url}: {said}") from error
    return _clients[name], prefix


def _s3(bucket: str, given: Settings) -> Client:
    config: dict[str, Any] = {name.lower(): value for name, value in given.items() if name not in _APART}
    config["conditional_put"] = "etag"
    endpoint = next((given[name] for name in _ENDPOINTS if name in given), None)
    if endpoint is not None:
        config["endpoint"] = endpoint
    more: dict[str, Any] = {}
    if all(name in given for name in _KEYS) and "AWS_SKIP_SIGNATURE" not in given:
        # As a whole: a session token that only this process's environment has belongs to another key
        credential: S3Credential = {
            "access_key_id": given["AWS_ACCESS_KEY_ID"],
            "secret_access_key": given["AWS_SECRET_ACCESS_KEY"],
            "token": given.get("AWS_SESSION_TOKEN"),
            "expires_at": None,
        }
        more["credential_provider"] = lambda: credential
    allow_http = given.get("AWS_ALLOW_HTTP", "").lower() in ("1", "true", "yes", "on", "t", "y")
    return S3Store(bucket, config=config, client_options=_options(allow_http), retry_config=RETRY, **more)  # type: ignore[arg-type]


def _gs(bucket: str, given: Settings) -> Client:
    config: dict[str, Any] = {name.lower(): value for name, value in given.items()}
    return GCSStore(bucket, config=config, client_options=_options(False), retry_config=RETRY)  # type: ignore[arg-type]


def _options(allow_http: bool) -> ClientConfig:
    return {
        "connect_timeout": timedelta(seconds=CONNECT_S),
        "timeout": timedelta(seconds=REQUEST_S),
        "allow_http": allow_http,
        "user_agent": "caviar",
    }


def _service_account(file: str) -> str | None:
    """The key in a file that other machines need not have; None: there is none that can be handed on."""
    try:
        text = Path(file).read_text(encoding="utf-8")
        return text if json.loads(text)["type"] == "service_account" else None
    except (OSError, ValueError, TypeError, KeyError):
        return None
