"""The answer of everything that leads into the inbox."""

from pathlib import Path

from service.inbox import Receipt, Status
from service.receipts import receipt_response
from workers.contract.settings import load

ENV = {
    "CPDFEED_TENANT_ID": "x",
    "CPDFEED_REGION": "production",
    "CPDFEED_API_SECRET": "s",
    "CPDFEED_WEBHOOK_AUTH": "signature",
    "CPDFEED_WEBHOOK_SECRETS": "s",
}


def test_receipt_is_pinned() -> None:
    """202, the id and what became of it, and where it can be looked up."""
    settings = load(ENV, Path("no-such-folder"))
    response = receipt_response(Receipt(Status.DUPLICATE, "1700000000000-7"), "default", settings)
    assert response.status_code == 202
    assert bytes(response.body) == b'{"notification":"1700000000000-7","status":"duplicate"}'
    assert dict(response.headers) == {
        "location": "/v1/notifications/1700000000000-7",
        "content-length": "55",
        "content-type": "application/json",
    }
