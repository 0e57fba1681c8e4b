"""Answer that something was taken into the inbox, the same for all that lead there."""

from starlette.responses import Response

from service.inbox import Receipt
from workers.contract.settings import Settings


def receipt_response(receipt: Receipt, tenant: str, settings: Settings) -> Response:
    """Give 202 with what became of a notification, and where it can be looked up.

    Ids and states are ours and need no quoting.
    """
    query = f"?tenant={tenant}" if len(settings.tenants) > 1 else ""
    return Response(
        f'{{"notification":"{receipt.id}","status":"{receipt.status}"}}',
        202,
        {"Location": f"/v1/notifications/{receipt.id}{query}"},
        "application/json",
    )
