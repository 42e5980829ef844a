"""The client of a remote store: HTTP(S), S3 or a folder, with the proxies and the certificates of the host."""

from __future__ import annotations

import datetime as dt
import os
import re
from typing import TYPE_CHECKING, Any

from synos_tasks.errors import RemoteStoreFailed, SettingsError
from synos_tasks.images.uplink import host_certificates, host_proxies

if TYPE_CHECKING:
    from obstore.store import ClientConfig, ObjectStore

SCHEMES = ("file", "http", "https", "s3")
PATIENCE = dt.timedelta(seconds=1.8)
"""What a server has for a connection, an entry, and each part of a file: so much does one cost that does not answer."""
WRITING = dt.timedelta(minutes=5)
"""What it has to take a part of a file: its answer comes after all of that went over the line."""
_LOGIN = re.compile(r"//[^/]*@")
_MEANINGS = {"TimedOut": "no answer in time", "InvalidCertificate": "its certificate is not trusted"}
_CAUSE = re.compile(r'(?:message|error): "([^"]+)"|<Code>(\w+)</Code>')
"""What the system or a server of S3 says, in the details of an error of the client."""


def client(url: str, timeout: dt.timedelta, *, writing: bool) -> ObjectStore:
    """Return the client of a store, which has ``timeout`` for a request and tries none twice; raises as RemoteStore()."""
    from obstore.exceptions import BaseError  # noqa: PLC0415
    from obstore.store import HTTPStore, LocalStore, S3Store  # noqa: PLC0415

    scheme, name = url.partition("://")[0], without_login(url)
    if scheme not in SCHEMES or len(url) <= len(f"{scheme}://"):
        hint = "https://HOST/PATH, s3://BUCKET/PATH or file:///PATH"
        raise SettingsError(f"{name!r} is no address of a store", where="synos.build.store", hint=hint)
    server = os.environ.get("AWS_ENDPOINT_URL", "https:") if scheme == "s3" else url
    proxies = host_proxies()
    proxy = proxies.http if server.startswith("http:") else proxies.https
    options: ClientConfig = {
        "allow_http": server.startswith("http:"),
        "connect_timeout": PATIENCE,
        "read_timeout": WRITING if writing else PATIENCE,
        "timeout": timeout,
    }
    if proxy:
        options |= {"proxy_url": proxy, "proxy_excludes": proxies.no}
    if server.startswith("https:") and (certificates := host_certificates()).is_file():
        options["root_certificate"] = certificates.read_bytes()
    retry: Any = {"max_retries": 0, "retry_timeout": PATIENCE}
    try:
        if scheme == "file":
            return LocalStore.from_url(url, mkdir=writing)
        if scheme == "s3":
            return S3Store.from_url(url, client_options=options, retry_config=retry)
        return HTTPStore.from_url(url, client_options=options, retry_config=retry)
    except (BaseError, ValueError, OSError) as error:
        raise RemoteStoreFailed("the remote store cannot be used", where=name, why=reason(error)) from error


def without_login(url: str) -> str:
    """Return an address without its password."""
    return _LOGIN.sub("//***@", url)


def reason(error: BaseException) -> str:
    """Return what matters of what the client says, which goes on for pages."""
    first, _, details = str(error).partition("\n")
    for word, meaning in _MEANINGS.items():
        if word in details:
            return meaning
    cause = _CAUSE.search(details)
    status = first.rpartition(" - ")[2].partition("<")[0].strip(" :")[:300]
    return status if cause is None else cause[1] or f"{status}: {cause[2]}"
