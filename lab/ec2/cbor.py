"""Smithy RPC v2 CBOR in front of moto.

AWS's Go SDK speaks nothing else to CloudWatch, and moto does not know it: it answers 404, and no alarm can be created.
Each such request is translated to the JSON 1.0 protocol, which moto knows, and its answer back.
Source: https://smithy.io/2.0/additional-specs/protocols/smithy-rpc-v2.html
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import cbor2

from lab.ec2.wsgi import answer_of

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_PATH = re.compile(r"/service/(\w+)/operation/(\w+)$")
_TIMESTAMP_KEY = re.compile(r"Timestamps?$|Time$|^LastModified$")
_EPOCH_TAG = 1  # RFC 8949, 3.4.2: seconds since 1970


def _to_cbor(value: Any, key: str = "") -> Any:
    if isinstance(value, dict):
        return {name: _to_cbor(item, name) for name, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_to_cbor(item, key) for item in value]
    if isinstance(value, int | float) and not isinstance(value, bool) and _TIMESTAMP_KEY.search(key):
        return cbor2.CBORTag(_EPOCH_TAG, value)
    return value


def rpc_v2_cbor(app: WSGIApplication) -> WSGIApplication:
    """`app`, which speaks JSON 1.0, speaking RPC v2 CBOR too."""

    def translated(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        match = _PATH.match(environ.get("PATH_INFO", ""))
        if not match:
            return app(environ, start_response)
        raw = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        body = json.dumps(cbor2.loads(raw) if raw else {}, default=lambda moment: moment.timestamp()).encode()
        request = dict(environ)
        request.pop("HTTP_SMITHY_PROTOCOL", None)
        request.update(
            {
                "PATH_INFO": "/",
                "RAW_URI": "/",
                "REQUEST_URI": "/",
                "CONTENT_TYPE": "application/x-amz-json-1.0",
                "CONTENT_LENGTH": str(len(body)),
                "HTTP_X_AMZ_TARGET": f"{match[1]}.{match[2]}",
                "wsgi.input": io.BytesIO(body),
            }
        )
        status, headers, answer = answer_of(app, request)
        encoded = cbor2.dumps(_to_cbor(json.loads(answer)) if answer.strip() else {})
        kept = [(name, value) for name, value in headers if name.lower() not in ("content-type", "content-length")]
        start_response(
            status,
            [
                *kept,
                ("Content-Type", "application/cbor"),
                ("Content-Length", str(len(encoded))),
                ("smithy-protocol", "rpc-v2-cbor"),
            ],
        )
        return [encoded]

    return translated
