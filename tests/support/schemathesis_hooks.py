"""Hooks for Schemathesis: valid pictures, and cases that mean something else on the wire."""

import base64
from typing import Any

import schemathesis
from hypothesis import strategies as st

from tests.conftest import encoded, plain

_PICTURE = encoded(plain("red"))

for kind in ("image/jpeg", "image/png", "image/webp", "image/gif", "image/bmp"):
    schemathesis.openapi.media_type(kind, st.just(_PICTURE))
schemathesis.openapi.media_type("application/octet-stream", st.just(_PICTURE))
schemathesis.openapi.format("binary", st.just(_PICTURE))
schemathesis.openapi.format("picture", st.just(base64.b64encode(_PICTURE).decode()))


@schemathesis.hook
def filter_case(context: Any, case: Any) -> bool:
    """Skip cases that have another meaning on the wire.

    The body's options override the query's, even if those are invalid. A form has a part per item
    of an array: an empty array is nothing, and one of a single item is the item.
    """
    body = case.body if isinstance(case.body, dict) else {}
    if set(case.query or {}) & set(body):
        return False
    return case.media_type != "multipart/form-data" or not any(
        isinstance(value, list) != (name == "images") for name, value in body.items()
    )
