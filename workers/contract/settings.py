"""Read the settings, once, at a process's start: environment over an optional TOML file.

The two records below are the settings table: a field's name, type, bounds, default and
description are what the reader, ``docs/settings.md`` and the deployment files go by.
"""

import difflib
import os
import re
import sys
import tomllib
from collections.abc import Callable, Mapping
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Final, Literal, get_args, get_origin
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta, Struct

from workers.contract.errors import SettingsError
from workers.contract.scope import DEFAULT_RULES, Action, Rule

PREFIX: Final = "CPDFEED_"


class Secret:
    """A value that never shows itself: only ``reveal()`` gives it."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Give the value, to the one place that needs it."""
        return self._value

    def __repr__(self) -> str:
        return "Secret('**********')"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)


class Hosts(Struct, frozen=True):
    """The two hosts of a region. Source: *Query CPD requirements*, section OAuth."""

    public: str
    user: str


REGIONS: Final = {
    "production": Hosts("https://public.api.learn.link", "https://user.api.learn.link"),
    "staging": Hosts("https://public.api.learnstaging.link", "https://user.api.learnstaging.link"),
    "production-mea": Hosts("https://public.api.mea.learn.tech", "https://user.api.mea.learn.tech"),
    "staging-mea": Hosts(
        "https://public.api.meastaging.learn.tech", "https://user.api.meastaging.learn.tech"
    ),
}


class ApiToken(Struct, frozen=True):
    """A caller's token, by the SHA-256 of its text, and the scopes it carries."""

    sha256: str
    scopes: frozenset[str]

    def __repr__(self) -> str:
        return f"ApiToken({'+'.join(sorted(self.scopes))})"


DEFAULT_REDIS_URL: Final = Secret("redis://127.0.0.1:6379/0")
_SHA256: Final = re.compile("[0-9a-fA-F]{64}")
API_SCOPES: Final = frozenset({"feed:read", "feed:write", "admin"})

Slug = Annotated[str, Meta(pattern=r"^[a-z0-9-]{1,32}\Z")]
Seconds = Annotated[float, Meta(ge=0)]
PositiveSeconds = Annotated[float, Meta(gt=0)]
Url = Annotated[str, Meta(pattern=r"^https?://")]
WebhookAuth = Literal["bearer", "signature", "both", "either"]


def about(description: str, **constraints: Any) -> Meta:  # noqa: ANN401 - msgspec's own bounds
    """Describe one setting."""
    return Meta(description=description, **constraints)


class Tenant(Struct, frozen=True, kw_only=True):
    """What is set per tenant: who it is, where its platform answers, how it is believed."""

    slug: Slug
    tenant_id: Annotated[str, about("The platform's tenant id, e.g. `eu-west-2_AbcdEfghI`.")]
    tenant_aliases: Annotated[
        tuple[str, ...], about("Other values of `tenantId` in this tenant's notifications.")
    ] = ()
    region: Annotated[
        Literal["production", "staging", "production-mea", "staging-mea"] | None,
        about("Which of the platform's hosts to use."),
    ] = None
    api_url: Annotated[
        Url, about("Base of the public API, up to and including `/rest/v1`; instead of a region.")
    ] = ""
    token_url: Annotated[Url, about("Where access tokens for the API are minted.")] = ""
    webhook_token_url: Annotated[
        Url, about("Where webhooks tokens are minted; `cpdfeed notify` uses it.")
    ] = ""
    api_auth: Annotated[
        Literal["basic", "oauth"], about("How to authenticate against the API.")
    ] = "basic"
    token_auth: Annotated[
        Literal["client_secret_post", "client_secret_basic"],
        about("How the client authenticates at the token endpoint."),
    ] = "client_secret_post"  # noqa: S105 - the name of a method
    api_secret: Annotated[Secret | None, about("Password of Basic authentication.")] = None
    client_id: Annotated[str, about("OAuth client id; the tenant id when not set.")] = ""
    client_secret: Annotated[
        Secret | None, about("OAuth client secret; the API secret when not set.")
    ] = None
    api_scope: Annotated[str, about("Scope asked for when minting API tokens.")] = "api/read"
    webhook_auth: Annotated[
        WebhookAuth,
        about(
            "Which credentials a notification must bear: `bearer`, `signature`, `both` or `either`."
        ),
    ]
    webhook_secrets: Annotated[
        tuple[Secret, ...],
        about("Secrets of `x-hmac-signature`; any of them is accepted, so they can be rotated."),
    ] = ()
    webhook_issuer: Annotated[str, about("`iss` that a notification's token must bear.")] = ""
    webhook_jwks_url: Annotated[
        Url, about("Keys of that issuer; `<issuer>/.well-known/jwks.json` when not set.")
    ] = ""
    webhook_client_ids: Annotated[
        tuple[str, ...], about("Accepted `client_id`s; empty accepts every client of the issuer.")
    ] = ()
    webhook_audience: Annotated[str, about("`aud` that is required, when set.")] = ""
    webhook_introspection_url: Annotated[
        Url, about("RFC 7662 endpoint, for tokens that are not JWTs.")
    ] = ""
    webhook_introspection_client_id: Annotated[str, about("Our client id at that endpoint.")] = ""
    webhook_introspection_client_secret: Annotated[
        Secret | None, about("Our client secret at that endpoint.")
    ] = None
    api_tokens: Annotated[
        tuple[ApiToken, ...],
        about(
            "Callers of `/v1`: `sha256-hex:scope+scope`, comma-separated. Set for one tenant they "
            "open that tenant alone, set at the top level every tenant."
        ),
    ] = ()
    scope_rules: Annotated[
        tuple[Rule, ...],
        about(
            "`pattern=action` pairs tried before the built-in ones; actions: `ignore`, `named`, "
            "`collection`."
        ),
    ] = ()
    per_page: Annotated[int, about("Rows asked for per page.", ge=1, le=1000)] = 1000
    rate_per_min: Annotated[
        float,
        about("Upstream requests a minute, all workers together; 0 switches pacing off.", ge=0),
    ] = 300
    refresh_min_s: Annotated[Seconds, about("Least time between two rounds.")] = 1
    scan_min_s: Annotated[
        Seconds, about("Least time between two scans of a collection of several pages.")
    ] = 30
    lag_s: Annotated[Seconds, about("How far the platform's replicas may lag.")] = 60
    settle_s: Annotated[
        tuple[Seconds, ...],
        about("How long after a notification that showed no change its scope is read again."),
    ] = (5, 60)
    reconcile_s: Annotated[PositiveSeconds, about("Every collection is scanned this often.")] = 900
    remove_unseen: Annotated[
        bool,
        about(
            "Where the platform refuses reads by id: remove what two complete scans, the lag "
            "horizon apart, did not show. Otherwise nothing is removed there."
        ),
    ] = False
    names_s: Annotated[
        PositiveSeconds, about("How long the name of an audience is taken as known.")
    ] = 86400

    @property
    def rules(self) -> tuple[Rule, ...]:
        """Give the scope rules in the order they are tried."""
        return (*self.scope_rules, *DEFAULT_RULES)


class Settings(Struct, frozen=True, kw_only=True):
    """What is set once for the installation, and its tenants by slug."""

    redis_url: Annotated[Secret, about("Redis that holds the state.")] = DEFAULT_REDIS_URL
    celery_broker_url: Annotated[
        Secret | None, about("Broker of the wake-up calls; `REDIS_URL` when not set.")
    ] = None
    port: Annotated[int, about("Port of the web process.", ge=0, le=65535)] = 8000
    data: Annotated[str, about("Folder of the embedded server and generated secrets.")] = ".cpdfeed"
    max_body_bytes: Annotated[int, about("Largest notification accepted.", ge=1)] = 1024 * 1024
    dedupe_s: Annotated[
        PositiveSeconds, about("How long an equal notification is a duplicate.")
    ] = 86400
    inbox_max: Annotated[int, about("Pending notifications a tenant may have; then 429.", ge=1)] = (
        100_000
    )
    inbox_days: Annotated[float, about("How long notifications can be looked up.", gt=0)] = 30
    log_max: Annotated[int, about("Changes a tenant's log keeps at most.", ge=1)] = 1_000_000
    log_days: Annotated[float, about("How long changes are kept.", gt=0)] = 400
    sweep_s: Annotated[PositiveSeconds, about("How often lost wake-up calls are repaired.")] = 5
    api_issuer: Annotated[str, about("`iss` of JWTs that callers of `/v1` may present.")] = ""
    api_jwks_url: Annotated[Url, about("Keys of that issuer.")] = ""
    api_audience: Annotated[str, about("`aud` those JWTs must bear.")] = ""
    api_tokens: Annotated[
        tuple[ApiToken, ...], about("Tokens that open every tenant, see the tenant's own.")
    ] = ()
    log_format: Annotated[
        Literal["auto", "console", "json"], about("`auto` is console on a terminal, else JSON.")
    ] = "auto"
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], about("Least severe level that is logged.")
    ] = "info"
    tenants: dict[str, Tenant]
    unknown: tuple[str, ...] = ()
    """Names in the environment that look like settings and are none."""

    @property
    def broker_url(self) -> Secret:
        """Give the broker's URL as it is to be used."""
        return self.celery_broker_url or self.redis_url


PLAIN_NAMES: Final = {
    "redis_url": "REDIS_URL",
    "celery_broker_url": "CELERY_BROKER_URL",
    "port": "PORT",
}
"""Settings whose environment name has no prefix."""
CLIENT_NAMES: Final = ("CPDFEED_CONFIG", "CPDFEED_TENANT", "CPDFEED_URL", "CPDFEED_TOKEN")
"""Names read elsewhere: where the file is, which tenant, and what the command line talks to."""
OWN: Final = frozenset({"tenant_id", "tenant_aliases", "api_secret", "client_id", "client_secret"})
"""Never shared between tenants: with several, each has its own in the file."""
_NOT_SAFE: Final = "must be an https URL (plain http only to a loopback address)"
_NOT_READ: Final = frozenset({"slug", "tenants", "unknown"})


def env_name(field: str) -> str:
    """Give the environment's name of a setting."""
    return PLAIN_NAMES.get(field, PREFIX + field.upper())


def table(record: type[Struct]) -> list[msgspec.structs.FieldInfo]:
    """Give the settings of a record, in the order they are documented."""
    return [field for field in msgspec.structs.fields(record) if field.name not in _NOT_READ]


def describe(field: msgspec.structs.FieldInfo) -> str:
    """Give a setting's description."""
    metas: tuple[Meta, ...] = field.type.__metadata__
    return next(meta.description for meta in metas if meta.description is not None)


def load(env: Mapping[str, str] | None = None, folder: Path | None = None) -> Settings:
    """Read and check all settings.

    Args:
        env: The environment; the process's own when not given.
        folder: Where ``cpdfeed.toml`` is looked for; the working folder when not given.

    Raises:
        SettingsError: Naming every fault at once.
    """
    return _Reader(os.environ if env is None else env, folder or Path()).read()


def load_or_exit() -> Settings:
    """Read the settings of this process; end it with every fault on standard error.

    Raises:
        SystemExit: With code 2, when they are wrong.
    """
    try:
        return load()
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(2) from None


class _Reader:
    """One reading of the settings, collecting faults as it goes."""

    def __init__(self, env: Mapping[str, str], folder: Path) -> None:
        self.env = {name: value for name, value in env.items() if value != ""}
        self.folder = folder
        self.faults: list[str] = []

    def read(self) -> Settings:
        document = self._document()
        tables = document.pop("tenants", {})
        if not isinstance(tables, dict) or not all(isinstance(t, dict) for t in tables.values()):
            self.faults.append("tenants: must be tables, [tenants.<slug>]")
            tables = {}
        self._check_names(document, tables)
        single = self.env.get("CPDFEED_TENANT") or str(document.pop("tenant", "default"))
        slugs = list(tables) or [single]
        common = self._record(Settings, document, {}, "")
        tenants = {
            slug: self._tenant(slug, tables.get(slug, {}), document, several=len(slugs) > 1)
            for slug in slugs
        }
        if not _is_safe(common.get("api_jwks_url", "")):
            self._fault("", "api_jwks_url", _NOT_SAFE)
        self._check_together(tenants)
        redis_url = common.get("redis_url", DEFAULT_REDIS_URL).reveal()
        if not redis_url.startswith(("redis://", "rediss://", "unix://")):
            self.faults.append("REDIS_URL: must begin with redis://, rediss:// or unix://")
        unknown = self._unknown_env()
        if self.faults:
            raise SettingsError(list(dict.fromkeys(self.faults)))
        return Settings(**common, tenants=tenants, unknown=unknown)

    def _document(self) -> dict[str, Any]:
        named = self.env.get("CPDFEED_CONFIG")
        path = Path(named) if named else self.folder / "cpdfeed.toml"
        if not named and not path.exists():
            return {}
        try:
            return tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            self.faults.append(f"CPDFEED_CONFIG: {path} cannot be read ({error.strerror})")
        except (tomllib.TOMLDecodeError, UnicodeDecodeError):
            self.faults.append(f"{path}: is not valid TOML")
        return {}

    def _tenant(
        self, slug: str, own: Mapping[str, Any], shared: Mapping[str, Any], *, several: bool
    ) -> Tenant:
        where = f"tenants.{slug}." if several else ""
        try:
            msgspec.convert(slug, Slug)
        except msgspec.ValidationError:
            self.faults.append(f"tenant {slug!r}: a slug is 1 to 32 of a-z, 0-9 and '-'")
        # What is missing is a fault already; standing in for it lets the other checks run.
        stand_in: dict[str, Any] = {"tenant_id": "", "webhook_auth": None}
        values = self._record(Tenant, own, shared, where, several=several)
        return self._derive(Tenant(slug=slug, **(stand_in | values)), where)

    def _record(
        self,
        record: type[Struct],
        own: Mapping[str, Any],
        shared: Mapping[str, Any],
        where: str,
        *,
        several: bool = False,
    ) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for field in table(record):
            found = self._find(field.name, own, shared, where, several=several, record=record)
            if found is None:
                if field.required:
                    self._fault(where, field.name, f"is required. {describe(field)}")
                continue
            label, raw = found
            try:
                values[field.name] = _convert(raw, field.type)
            except ValueError as error:  # msgspec.ValidationError is one
                self.faults.append(f"{label}: {error}")
        return values

    def _find(
        self,
        name: str,
        own: Mapping[str, Any],
        shared: Mapping[str, Any],
        where: str,
        *,
        several: bool,
        record: type[Struct],
    ) -> tuple[str, Any] | None:
        """Give (label, raw value): environment, then the tenant's table, then the top level."""
        env = env_name(name)
        # Tokens set at the top level open every tenant: with several tenants they are no tenant's.
        top = not (several and (name in OWN or (record is Tenant and name == "api_tokens")))
        if top and env in self.env:
            return env, self.env[env]
        if top and f"{env}_FILE" in self.env:
            return self._from_file(f"{env}_FILE", self.env[f"{env}_FILE"])
        if not top and name in OWN and (env in self.env or f"{env}_FILE" in self.env):
            self.faults.append(f"{env}: there are several tenants, set it under [{where[:-1]}]")
        for source, prefix in ((own, where), (shared if top else {}, "")):
            if name in source:
                raw = source[name]
                if isinstance(raw, dict) and set(raw) == {"file"}:
                    return self._from_file(prefix + name, str(raw["file"]))
                return prefix + name, raw
        return None

    def _from_file(self, label: str, path: str) -> tuple[str, Any] | None:
        try:
            return label, Path(path).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError):
            self.faults.append(f"{label}: {path} cannot be read")
            return None

    def _derive(self, tenant: Tenant, where: str) -> Tenant:
        """Fill in what follows from other settings, and check what must go together."""
        fault = partial(self._fault, where)
        api_url, token_url, user_url = tenant.api_url, tenant.token_url, tenant.webhook_token_url
        mint = f"/oauth2/token/{tenant.tenant_id}"
        if tenant.region and not api_url:
            hosts = REGIONS[tenant.region]
            api_url = f"{hosts.public}/rest/v1"
            token_url = token_url or hosts.public + mint
            user_url = user_url or hosts.user + mint
        elif not api_url:
            fault("region", f"is required (one of {', '.join(REGIONS)}), or {env_name('api_url')}")
        if api_url and not token_url:
            token_url = api_url.rstrip("/").removesuffix("/rest/v1") + mint
        if tenant.api_auth == "basic" and tenant.api_secret is None:
            fault("api_secret", "is required for basic authentication against the API")
        if tenant.api_auth == "oauth" and not (tenant.client_secret or tenant.api_secret):
            fault("client_secret", "is required for oauth against the API (or the API secret)")
        self._check_webhooks(tenant, where)
        jwks = tenant.webhook_jwks_url
        if tenant.webhook_issuer and not jwks:
            jwks = tenant.webhook_issuer.rstrip("/") + "/.well-known/jwks.json"
        derived = msgspec.structs.replace(
            tenant,
            api_url=api_url.rstrip("/"),
            token_url=token_url,
            webhook_token_url=user_url,
            webhook_jwks_url=jwks,
            client_id=tenant.client_id or tenant.tenant_id,
            client_secret=tenant.client_secret or tenant.api_secret,
        )
        for name in msgspec.structs.asdict(derived):
            if name.endswith("_url") and not _is_safe(getattr(derived, name)):
                fault(name, _NOT_SAFE)
        return derived

    def _check_webhooks(self, tenant: Tenant, where: str) -> None:
        """Check that what the policy asks for can be verified."""
        fault = partial(self._fault, where)
        if tenant.webhook_auth in {"signature", "both", "either"} and not tenant.webhook_secrets:
            fault("webhook_secrets", f"is required when webhook_auth is {tenant.webhook_auth}")
        if tenant.webhook_auth in {"bearer", "both", "either"}:
            if not tenant.webhook_issuer and not tenant.webhook_introspection_url:
                fault("webhook_issuer", "is required to verify tokens (or an introspection URL)")
            if tenant.webhook_introspection_url and not tenant.webhook_introspection_client_id:
                fault("webhook_introspection_client_id", "is required for introspection")

    def _fault(self, where: str, name: str, message: str) -> None:
        self.faults.append(f"{where}{name} ({env_name(name)}): {message}")

    def _check_together(self, tenants: Mapping[str, Tenant]) -> None:
        owners: dict[str, str] = {}
        for slug, tenant in tenants.items():
            if tenant.tenant_id and tenant.tenant_id in owners:
                self.faults.append(
                    f"tenants.{slug}.tenant_id: is also the id of {owners[tenant.tenant_id]}"
                )
            owners[tenant.tenant_id] = slug

    def _check_names(self, document: Mapping[str, Any], tables: Mapping[str, Any]) -> None:
        of_tenant = [field.name for field in table(Tenant)]
        of_file = [*(field.name for field in table(Settings)), *of_tenant, "tenant"]
        for where, found, known in (
            ("", document, of_file),
            *((f"tenants.{slug}.", own, of_tenant) for slug, own in tables.items()),
        ):
            for name in found:
                if name not in known:
                    near = difflib.get_close_matches(name, known, 1)
                    hint = f"; did you mean {near[0]}?" if near else ""
                    self.faults.append(f"{where}{name}: is no setting{hint}")

    def _unknown_env(self) -> tuple[str, ...]:
        known = {env_name(field.name) for record in (Settings, Tenant) for field in table(record)}
        known |= {f"{name}_FILE" for name in known} | set(CLIENT_NAMES)
        return tuple(sorted(n for n in self.env if n.startswith(PREFIX) and n not in known))


def _convert(raw: Any, annotation: Any) -> Any:  # noqa: ANN401 - a setting's type is data here
    """Turn what a source holds into a setting's type.

    Raises:
        ValueError: It does not fit; the message holds nothing of the value.
    """
    kind, several = _shape(annotation)
    if several and isinstance(raw, str):
        raw = [part.strip() for part in raw.split(",") if part.strip()]
    if kind not in _PARSERS:
        return msgspec.convert(raw, annotation, strict=False)
    texts = raw if several and isinstance(raw, list) else [raw]
    if not all(isinstance(text, str) for text in texts):
        raise ValueError("must be text")
    parsed = tuple(_PARSERS[kind](text) for text in texts)
    return parsed if several else parsed[0]


def _shape(annotation: Any) -> tuple[Any, bool]:  # noqa: ANN401 - see _convert
    """Give (type of one value, whether there may be several)."""
    kind = get_args(annotation)[0] if hasattr(annotation, "__metadata__") else annotation
    if get_origin(kind) is tuple:
        return get_args(kind)[0], True
    if get_origin(kind) is UnionType:
        return get_args(kind)[0], False
    return kind, False


def parse_secret(text: str) -> Secret:
    """Take a secret's text.

    Raises:
        ValueError: It is empty, so anybody would know it.
    """
    if not text:
        raise ValueError("must not be empty")
    return Secret(text)


def parse_token(text: str) -> ApiToken:
    """Read ``sha256-hex:scope+scope``.

    Raises:
        ValueError: It is not of that form.
    """
    digest, _, scopes = text.partition(":")
    named = frozenset(scopes.split("+"))
    if not named <= API_SCOPES:
        known = ", ".join(sorted(API_SCOPES))
        raise ValueError(f"must be sha256-hex:scope+scope, scopes are {known}")
    if not _SHA256.fullmatch(digest):
        raise ValueError("must begin with the 64 hexadecimal digits of a SHA-256")
    return ApiToken(digest.lower(), named)


def parse_rule(text: str) -> Rule:
    """Read ``pattern=action``.

    Raises:
        ValueError: It is not of that form.
    """
    pattern, _, action = text.partition("=")
    if not pattern.strip():
        raise ValueError("must be pattern=action")
    return Rule(pattern.strip(), Action(action.strip()))


_PARSERS: Final[Mapping[Any, Callable[[str], Any]]] = {
    Secret: parse_secret,
    ApiToken: parse_token,
    Rule: parse_rule,
}


def _is_safe(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    if not url or parts.scheme == "https":
        return True
    host = parts.hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
