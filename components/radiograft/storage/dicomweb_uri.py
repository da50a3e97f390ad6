"""URIs of DICOMweb services: `dicomweb://HOST/PATH` by HTTPS, `dicomweb+http://HOST/PATH` without encryption.

A query restricts the studies: `dicomweb://pacs/dicom-web?StudyDate=20200101-20201231`. An object is named by the UIDs
of its study, series and instance.
"""

from __future__ import annotations

import re
import urllib.parse
from typing import NamedTuple

USER_VARIABLE, PASSWORD_VARIABLE = "RADIOGRAFT_DICOMWEB_USER", "RADIOGRAFT_DICOMWEB_PASSWORD"
TOKEN_VARIABLE = "RADIOGRAFT_DICOMWEB_TOKEN"  # noqa: S105  the name of a variable
SCHEMES = {"dicomweb": "https", "dicomweb+http": "http"}
UID = r"[A-Za-z0-9][\w.-]{0,63}"  # some archives write letters, which the standard does not allow
OBJECT = re.compile(rf"(?P<root>dicomweb(?:\+http)?://.+)/(?P<study>{UID})/(?P<series>{UID})/(?P<instance>{UID})")
KEY = re.compile(r"[A-Z][A-Za-z]+|[0-9A-Fa-f]{8}")  # an attribute's keyword or tag
IDENTIFYING = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "00100010",
    "00100020",
    "00100030",
)  # settings are logged
MODALITIES = ("Modality", "ModalitiesInStudy", "00080060", "00080061")


class Service(NamedTuple):
    """A DICOMweb service: its root URL and the filters of studies by attribute."""

    url: str
    filters: dict[str, str]


class ObjectUids(NamedTuple):
    """An instance: the URI of the service, and the UIDs of study, series and instance."""

    root: str
    study: str
    series: str
    instance: str


def is_dicomweb(uri: str) -> bool:
    """Returns whether a URI has the scheme of a DICOMweb service.

    Example:
        >>> is_dicomweb("dicomweb://pacs/dicom-web"), is_dicomweb("https://pacs/dicom-web")
        (True, False)
    """
    return uri.partition("://")[0] in SCHEMES


def parse_service(uri: str) -> Service:
    """Parses the URI of a service.

    Example:
        >>> parse_service("dicomweb+http://localhost:8042/dicom-web?StudyDate=2020-")
        Service(url='http://localhost:8042/dicom-web', filters={'StudyDate': '2020-'})

    Raises:
        ValueError: The URI has no host, or it has credentials, a fragment or an invalid filter. The message does not
            repeat the URI, and completes `data_source must `.
    """
    parts = _split(uri)
    if not parts.hostname or parts.fragment:
        raise ValueError("be dicomweb://HOST/PATH, or dicomweb+http://HOST/PATH without encryption")
    if parts.username is not None:
        raise ValueError(
            "not contain a user name or password, because settings are logged: set the environment variables "
            f"{USER_VARIABLE} and {PASSWORD_VARIABLE}"
        )
    filters = dict(urllib.parse.parse_qsl(parts.query, keep_blank_values=True))
    for key in filters:
        _check_filter(key)
    return Service(f"{SCHEMES[parts.scheme]}://{parts.netloc}{parts.path.rstrip('/')}", filters)


def _split(uri: str) -> urllib.parse.SplitResult:
    try:
        parts = urllib.parse.urlsplit(uri)
        if parts.port == 0:
            raise ValueError("port 0")
    except ValueError:  # for a port or an IPv6 address
        raise ValueError("be dicomweb://HOST:PORT/PATH with a valid host and port") from None
    return parts


def _check_filter(key: str) -> None:
    if key in MODALITIES:
        raise ValueError(f"not filter by {key}: images of the modalities CR, DX and RG are read")
    if key in IDENTIFYING:
        raise ValueError(f"not filter by {key}, because settings are logged: select the images by the table of labels")
    if not KEY.fullmatch(key):
        raise ValueError(f"filter studies by attributes such as StudyDate=20200101-20201231, got {key!r:.40}")


def parse_object(uri: str) -> ObjectUids | None:
    """Splits the URI of an instance into the service's URI and the three UIDs; None for other URIs.

    Example:
        >>> parse_object("dicomweb://pacs/dicom-web/1.2/1.3/1.4").instance
        '1.4'
    """
    match = OBJECT.fullmatch(uri)
    return ObjectUids(**match.groupdict()) if match else None
