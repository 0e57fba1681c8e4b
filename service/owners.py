"""Know whose a notification says it is."""

from collections import defaultdict
from collections.abc import Mapping

from workers.contract.settings import Tenant


class Owners:
    """The tenants by every ``tenantId`` that is known to be theirs."""

    def __init__(self, tenants: Mapping[str, Tenant]) -> None:
        self._slugs: defaultdict[str, set[str]] = defaultdict(set)
        for slug, tenant in tenants.items():
            for name in (tenant.tenant_id, *tenant.tenant_aliases):
                self._slugs[name].add(slug)

    def is_foreign(self, tenant_id: object, slug: str) -> bool:
        """Tell whether a ``tenantId`` is known to be another tenant's; an unknown one is not."""
        owners = self._slugs.get(tenant_id) if isinstance(tenant_id, str) else None
        return owners is not None and slug not in owners
