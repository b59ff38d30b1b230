"""What Schemathesis cannot know: pictures that can be classified, and what overrides what."""

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
    """Not what has another meaning on the wire than in the case.

    With an option in both query and body, the body's counts, whatever the query's is. In a form an
    array is a part per item: an empty one is nothing, one of a single item is the item.
    """
    body = case.body if isinstance(case.body, dict) else {}
    if set(case.query or {}) & set(body):
        return False
    return case.media_type != "multipart/form-data" or not any(
        isinstance(value, list) != (name == "images") for name, value in body.items()
    )
