"""Settings are read once, from the environment over a file, and every fault is named at once."""

import hashlib
import traceback
from pathlib import Path

import pytest

from workers.contract.errors import SettingsError
from workers.contract.scope import DEFAULT_RULES, Action, Rule
from workers.contract.settings import (
    REGIONS,
    Hosts,
    Secret,
    Settings,
    Tenant,
    load,
    load_or_exit,
    parse_token,
)

DIGEST = hashlib.sha256(b"token").hexdigest()
ENV = {
    "CPDFEED_TENANT": "acme",
    "CPDFEED_TENANT_ID": "eu-west-2_AbcdEfghI",
    "CPDFEED_REGION": "production",
    "CPDFEED_API_SECRET": "api-secret",
    "CPDFEED_WEBHOOK_AUTH": "signature",
    "CPDFEED_WEBHOOK_SECRETS": "one,two",
}
TWO = """
[tenants.acme]
tenant_id = "eu-west-2_AbcdEfghI"
region = "production"
api_secret = "acme-secret"
webhook_auth = "signature"
webhook_secrets = ["acme-hook"]
[tenants.bolt]
tenant_id = "eu-west-2_Bolt"
region = "staging-mea"
api_secret = "bolt-secret"
webhook_auth = "signature"
webhook_secrets = "bolt-hook, bolt-older"
"""
BEARER = {
    "CPDFEED_WEBHOOK_AUTH": "bearer",
    "CPDFEED_WEBHOOK_ISSUER": "https://idp.example/pool",
}


def read(folder: Path, text: str = "", **env: str) -> Settings:
    """Read an environment over a file."""
    (folder / "cpdfeed.toml").write_text(text, encoding="utf-8")
    return load(env, folder)


def acme(folder: Path, text: str = "", **env: str) -> Tenant:
    """Read the one tenant of the complete environment, with changes; None takes a name out."""
    return read(folder, text, **ENV | env).tenants["acme"]


def faults(folder: Path, text: str = "", **env: str) -> tuple[str, ...]:
    """Give the faults of settings that are refused."""
    with pytest.raises(SettingsError) as refused:
        read(folder, text, **env)
    return refused.value.faults


# --- the table --------------------------------------------------------------------------------


def test_hosts_of_regions_are_pinned() -> None:
    """Each region has its two hosts, as the platform documents them."""
    assert {
        "production": Hosts("https://public.api.learn.link", "https://user.api.learn.link"),
        "staging": Hosts(
            "https://public.api.learnstaging.link", "https://user.api.learnstaging.link"
        ),
        "production-mea": Hosts(
            "https://public.api.mea.learn.tech", "https://user.api.mea.learn.tech"
        ),
        "staging-mea": Hosts(
            "https://public.api.meastaging.learn.tech", "https://user.api.meastaging.learn.tech"
        ),
    } == REGIONS


def test_defaults_are_pinned(tmp_path: Path) -> None:
    """What is not set is as documented."""
    settings = read(tmp_path, **ENV)
    tenant = settings.tenants["acme"]
    assert settings.redis_url.reveal() == settings.broker_url.reveal() == "redis://127.0.0.1:6379/0"
    assert (settings.port, settings.data, settings.max_body_bytes) == (8000, ".cpdfeed", 1_048_576)
    assert (settings.dedupe_s, settings.inbox_max, settings.inbox_days) == (86_400, 100_000, 30)
    assert (tenant.per_page, tenant.rate_per_min) == (1000, 300)
    assert (tenant.refresh_min_s, tenant.scan_min_s) == (1, 30)
    assert (tenant.lag_s, tenant.settle_s, tenant.reconcile_s) == (60, (5, 60), 900)
    assert (tenant.api_auth, tenant.token_auth) == ("basic", "client_secret_post")
    assert (tenant.api_scope, tenant.webhook_audience) == ("api/read", "")
    assert tenant.rules == DEFAULT_RULES


def test_tenant_is_called_default(tmp_path: Path) -> None:
    """Without a slug, the one tenant is called ``default``."""
    env = {name: value for name, value in ENV.items() if name != "CPDFEED_TENANT"}
    assert list(read(tmp_path, **env).tenants) == ["default"]


def test_urls_follow_from_the_region(tmp_path: Path) -> None:
    """A region gives the API, its token endpoint, and the one of webhooks tokens."""
    tenant = acme(tmp_path, CPDFEED_REGION="staging")
    assert tenant.api_url == "https://public.api.learnstaging.link/rest/v1"
    assert tenant.token_url == (
        "https://public.api.learnstaging.link/oauth2/token/eu-west-2_AbcdEfghI"
    )
    assert tenant.webhook_token_url == (
        "https://user.api.learnstaging.link/oauth2/token/eu-west-2_AbcdEfghI"
    )


def test_urls_follow_from_the_api_url(tmp_path: Path) -> None:
    """An API URL stands before the region, and gives the token endpoint beside it."""
    tenant = acme(tmp_path, CPDFEED_API_URL="https://gate.example/x/rest/v1/")
    assert tenant.api_url == "https://gate.example/x/rest/v1"
    assert tenant.token_url == "https://gate.example/x/oauth2/token/eu-west-2_AbcdEfghI"


def test_stated_urls_are_kept(tmp_path: Path) -> None:
    """What is stated is not derived."""
    tenant = acme(
        tmp_path,
        CPDFEED_TOKEN_URL="https://a.example/t",
        CPDFEED_WEBHOOK_TOKEN_URL="https://b.example/t",
        CPDFEED_WEBHOOK_JWKS_URL="https://c.example/keys",
        **BEARER,
    )
    assert tenant.token_url == "https://a.example/t"
    assert tenant.webhook_token_url == "https://b.example/t"
    assert tenant.webhook_jwks_url == "https://c.example/keys"


def test_keys_follow_from_the_issuer(tmp_path: Path) -> None:
    """An issuer publishes its keys at the well-known place."""
    tenant = acme(tmp_path, **BEARER)
    assert tenant.webhook_jwks_url == "https://idp.example/pool/.well-known/jwks.json"


def test_client_follows_from_the_api_credentials(tmp_path: Path) -> None:
    """Without a client of its own, a tenant's id and API secret are the client."""
    tenant = acme(tmp_path)
    assert tenant.client_id == "eu-west-2_AbcdEfghI"
    assert tenant.client_secret == Secret("api-secret")


def test_own_client_is_kept(tmp_path: Path) -> None:
    """A client that is stated is used."""
    tenant = acme(tmp_path, CPDFEED_CLIENT_ID="app", CPDFEED_CLIENT_SECRET="app-secret")
    assert (tenant.client_id, tenant.client_secret) == ("app", Secret("app-secret"))


# --- sources ----------------------------------------------------------------------------------


def test_environment_stands_over_the_file(tmp_path: Path) -> None:
    """What both set is taken from the environment, the rest from the file."""
    tenant = acme(tmp_path, "per_page = 50\nlag_s = 7", CPDFEED_PER_PAGE="20")
    assert (tenant.per_page, tenant.lag_s) == (20, 7)


def test_empty_variable_is_not_set(tmp_path: Path) -> None:
    """An empty variable leaves what the file says."""
    assert acme(tmp_path, "per_page = 50", CPDFEED_PER_PAGE="").per_page == 50


def test_tenants_table_stands_over_the_top_level(tmp_path: Path) -> None:
    """What tenants have in common may stand at the top, and each may differ."""
    tenants = read(tmp_path, "per_page = 50\n" + TWO + "per_page = 20").tenants
    assert (tenants["acme"].per_page, tenants["bolt"].per_page) == (50, 20)


def test_file_is_the_one_that_is_named(tmp_path: Path) -> None:
    """``CPDFEED_CONFIG`` names the file to read instead."""
    other = tmp_path / "other.toml"
    other.write_text(TWO, encoding="utf-8")
    assert list(read(tmp_path, "port = 1", CPDFEED_CONFIG=str(other)).tenants) == ["acme", "bolt"]


def test_named_file_must_be_there(tmp_path: Path) -> None:
    """A named file that cannot be read is a fault; one that nobody named need not be there."""
    missing = str(tmp_path / "none.toml")
    assert any(
        fault.startswith(f"CPDFEED_CONFIG: {missing} cannot be read")
        for fault in faults(tmp_path, **ENV, CPDFEED_CONFIG=missing)
    )
    (tmp_path / "empty").mkdir()
    assert load(ENV, tmp_path / "empty").tenants["acme"].slug == "acme"


def test_file_must_be_toml(tmp_path: Path) -> None:
    """A file that is not TOML is a fault."""
    assert faults(tmp_path, "port =", **ENV) == (f"{tmp_path}/cpdfeed.toml: is not valid TOML",)


def test_tenants_must_be_tables(tmp_path: Path) -> None:
    """``tenants`` is a table of tables, or a fault."""
    expected = "tenants: must be tables, [tenants.<slug>]"
    assert faults(tmp_path, "tenants = 5", **ENV) == (expected,)
    assert faults(tmp_path, "[tenants]\nacme = 5", **ENV) == (expected,)


def test_secret_may_be_a_file(tmp_path: Path) -> None:
    """``_FILE`` and ``{ file = … }`` read a secret from a file, without the line's end."""
    secret = tmp_path / "secret"
    secret.write_text("from-file\n", encoding="utf-8")
    env = {name: value for name, value in ENV.items() if name != "CPDFEED_API_SECRET"}
    by_env = read(tmp_path, **env, CPDFEED_API_SECRET_FILE=str(secret))
    by_file = read(tmp_path, f'api_secret = {{ file = "{secret}" }}', **env)
    for settings in (by_env, by_file):
        assert settings.tenants["acme"].api_secret == Secret("from-file")
        assert settings.unknown == ()


def test_secret_file_must_be_there(tmp_path: Path) -> None:
    """A secret's file that cannot be read is a fault that names it."""
    missing = tmp_path / "none"
    env = {name: value for name, value in ENV.items() if name != "CPDFEED_API_SECRET"}
    assert f"CPDFEED_API_SECRET_FILE: {missing} cannot be read" in faults(
        tmp_path, **env, CPDFEED_API_SECRET_FILE=str(missing)
    )
    assert f"api_secret: {missing} cannot be read" in faults(
        tmp_path, f'api_secret = {{ file = "{missing}" }}', **env
    )


def test_intervals_may_be_fractions(tmp_path: Path) -> None:
    """Intervals are seconds with any fraction, also several of them."""
    tenant = acme(tmp_path, CPDFEED_REFRESH_MIN_S="0.25", CPDFEED_SETTLE_S="0.5, 1.5,60")
    assert (tenant.refresh_min_s, tenant.settle_s) == (0.25, (0.5, 1.5, 60))


def test_no_settle_delay_at_all(tmp_path: Path) -> None:
    """An empty list in the file switches settling off."""
    assert acme(tmp_path, "settle_s = []").settle_s == ()


# --- several tenants ----------------------------------------------------------------------------


def test_several_tenants_have_their_own(tmp_path: Path) -> None:
    """Each tenant of a file has its own identity, hosts and secrets."""
    tenants = read(tmp_path, TWO).tenants
    assert list(tenants) == ["acme", "bolt"]
    assert tenants["acme"].api_secret == Secret("acme-secret")
    assert tenants["bolt"].api_secret == Secret("bolt-secret")
    assert tenants["bolt"].webhook_secrets == (Secret("bolt-hook"), Secret("bolt-older"))
    assert tenants["bolt"].api_url == "https://public.api.meastaging.learn.tech/rest/v1"


@pytest.mark.parametrize(
    "name", ["TENANT_ID", "TENANT_ALIASES", "API_SECRET", "CLIENT_ID", "CLIENT_SECRET"]
)
def test_identity_is_never_shared(tmp_path: Path, name: str) -> None:
    """With several tenants, who one is cannot come from the environment."""
    variable = f"CPDFEED_{name}"
    expected = tuple(
        f"{variable}: there are several tenants, set it under [tenants.{slug}]"
        for slug in ("acme", "bolt")
    )
    assert faults(tmp_path, TWO, **{variable: "x"}) == expected
    assert faults(tmp_path, TWO, **{f"{variable}_FILE": "x"}) == expected


def test_identity_at_the_top_is_nobodys(tmp_path: Path) -> None:
    """With several tenants, a secret at the top of the file is not lent to one without its own."""
    text = 'api_secret = "shared"\n' + TWO.replace('api_secret = "bolt-secret"\n', "")
    assert any(
        fault.startswith("tenants.bolt.api_secret (CPDFEED_API_SECRET): is required")
        for fault in faults(tmp_path, text)
    )


def test_two_tenants_cannot_be_one(tmp_path: Path) -> None:
    """Two tenants with one id are a fault."""
    text = TWO.replace("eu-west-2_Bolt", "eu-west-2_AbcdEfghI")
    assert faults(tmp_path, text) == ("tenants.bolt.tenant_id: is also the id of acme",)


def test_missing_ids_are_not_the_same_id(tmp_path: Path) -> None:
    """Two tenants without an id lack one each, and nothing else is said of them."""
    text = "\n".join(line for line in TWO.splitlines() if not line.startswith("tenant_id"))
    found = faults(tmp_path, text)
    assert len(found) == 2
    assert found[0].startswith("tenants.acme.tenant_id (CPDFEED_TENANT_ID): is required")
    assert found[1].startswith("tenants.bolt.tenant_id (CPDFEED_TENANT_ID): is required")


# --- faults -----------------------------------------------------------------------------------


def test_every_fault_is_named_at_once(tmp_path: Path) -> None:
    """Whatever is wrong or missing, one error names it all."""
    found = faults(
        tmp_path,
        "prot = 80",
        REDIS_URL="http://nowhere",
        PORT="many",
        CPDFEED_PER_PAGE="1001",
        CPDFEED_LAG_S="-1",
        CPDFEED_RECONCILE_S="0",
        CPDFEED_SETTLE_S="5,soon",
        CPDFEED_TENANT="Acme!",
    )
    starts = [
        "prot: is no setting; did you mean port?",
        "PORT: ",
        "tenant 'Acme!': a slug is 1 to 32 of a-z, 0-9 and '-'",
        "tenant_id (CPDFEED_TENANT_ID): is required",
        "webhook_auth (CPDFEED_WEBHOOK_AUTH): is required",
        "CPDFEED_PER_PAGE: ",
        "CPDFEED_LAG_S: ",
        "CPDFEED_RECONCILE_S: ",
        "CPDFEED_SETTLE_S: ",
        "region (CPDFEED_REGION): is required",
        "api_secret (CPDFEED_API_SECRET): is required",
        "REDIS_URL: must begin with redis://, rediss:// or unix://",
    ]
    assert len(found) == len(starts)
    for start in starts:
        assert any(fault.startswith(start) for fault in found), start


@pytest.mark.parametrize("auth", ["none", "", "None", "hmac"])
def test_webhook_auth_has_no_none(tmp_path: Path, auth: str) -> None:
    """Nothing switches the verification of notifications off."""
    assert any(
        "webhook_auth" in f.lower()
        for f in faults(tmp_path, **ENV | {"CPDFEED_WEBHOOK_AUTH": auth})
    )


@pytest.mark.parametrize("auth", ["signature", "both", "either"])
def test_signatures_need_a_secret(tmp_path: Path, auth: str) -> None:
    """A policy that looks at signatures needs something to hold them against."""
    env = ENV | BEARER | {"CPDFEED_WEBHOOK_AUTH": auth, "CPDFEED_WEBHOOK_SECRETS": ""}
    assert faults(tmp_path, **env) == (
        f"webhook_secrets (CPDFEED_WEBHOOK_SECRETS): is required when webhook_auth is {auth}",
    )


@pytest.mark.parametrize("secrets", ['""', "[]", '[""]', '["one", ""]', '" , "'])
def test_empty_secret_opens_nothing(tmp_path: Path, secrets: str) -> None:
    """An empty webhook secret, which anybody can sign with, is never taken for one."""
    env = {name: value for name, value in ENV.items() if name != "CPDFEED_WEBHOOK_SECRETS"}
    with pytest.raises(SettingsError, match="webhook_secrets"):
        read(tmp_path, f"webhook_secrets = {secrets}", **env)


@pytest.mark.parametrize("auth", ["bearer", "both", "either"])
def test_tokens_need_an_issuer(tmp_path: Path, auth: str) -> None:
    """A policy that looks at tokens needs an issuer or an introspection endpoint."""
    assert faults(tmp_path, **ENV | {"CPDFEED_WEBHOOK_AUTH": auth}) == (
        (
            "webhook_issuer (CPDFEED_WEBHOOK_ISSUER): "
            "is required to verify tokens (or an introspection URL)"
        ),
    )


def test_introspection_needs_a_client(tmp_path: Path) -> None:
    """An introspection endpoint stands in for the issuer, and needs our client id there."""
    env = ENV | {
        "CPDFEED_WEBHOOK_AUTH": "bearer",
        "CPDFEED_WEBHOOK_INTROSPECTION_URL": "https://idp.example/introspect",
    }
    assert faults(tmp_path, **env) == (
        (
            "webhook_introspection_client_id (CPDFEED_WEBHOOK_INTROSPECTION_CLIENT_ID): "
            "is required for introspection"
        ),
    )
    client = {"CPDFEED_WEBHOOK_INTROSPECTION_CLIENT_ID": "us"}
    assert read(tmp_path, **env, **client).tenants["acme"].webhook_jwks_url == ""


def test_oauth_needs_a_secret(tmp_path: Path) -> None:
    """OAuth against the API takes the client's secret or the API's, and one is needed."""
    env = ENV | {"CPDFEED_API_AUTH": "oauth", "CPDFEED_API_SECRET": ""}
    assert faults(tmp_path, **env) == (
        (
            "client_secret (CPDFEED_CLIENT_SECRET): "
            "is required for oauth against the API (or the API secret)"
        ),
    )
    assert read(tmp_path, **env, CPDFEED_CLIENT_SECRET="s").tenants["acme"].api_secret is None


URL_NAMES = [
    "API_URL",
    "TOKEN_URL",
    "WEBHOOK_TOKEN_URL",
    "WEBHOOK_JWKS_URL",
    "WEBHOOK_INTROSPECTION_URL",
]


@pytest.mark.parametrize("name", URL_NAMES)
@pytest.mark.parametrize(
    "url",
    [
        "http://platform.example/rest/v1",
        "http://127.0.0.1.example/rest/v1",
        "http://localhost.example/rest/v1",
        "http://127.0.0.1@platform.example/rest/v1",
        "http://10.0.0.1/rest/v1",
        "http://0.0.0.0/rest/v1",
        "ftp://127.0.0.1/rest/v1",
        "https://[::1/rest/v1",
    ],
)
def test_plain_http_is_refused(tmp_path: Path, name: str, url: str) -> None:
    """No credential goes over plain HTTP to another machine, nor to what is no URL."""
    env = ENV | {f"CPDFEED_{name}": url}
    assert any(name.lower() in fault.lower() for fault in faults(tmp_path, **env))


@pytest.mark.parametrize("name", URL_NAMES)
@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:8400/rest/v1",
        "http://127.8.9.1/rest/v1",
        "http://localhost/rest/v1",
        "http://[::1]:8400/rest/v1",
        "https://platform.example/rest/v1",
    ],
)
def test_https_and_loopback_are_accepted(tmp_path: Path, name: str, url: str) -> None:
    """HTTPS goes anywhere, and plain HTTP to this machine."""
    env = {f"CPDFEED_{name}": url, "CPDFEED_WEBHOOK_INTROSPECTION_CLIENT_ID": "us"}
    assert getattr(acme(tmp_path, **env), name.lower()) == url


def test_plain_http_of_the_common_part_is_refused(tmp_path: Path) -> None:
    """The keys of the API's own callers, too, do not come over plain HTTP."""
    assert any(
        "api_jwks_url" in fault.lower()
        for fault in faults(tmp_path, **ENV, CPDFEED_API_JWKS_URL="http://idp.example/keys")
    )


@pytest.mark.parametrize("slug", ["a", "acme-2", "0", "a" * 32])
def test_slugs_are_accepted(tmp_path: Path, slug: str) -> None:
    """1 to 32 lower-case letters, digits and hyphens name a tenant."""
    assert list(read(tmp_path, **ENV | {"CPDFEED_TENANT": slug}).tenants) == [slug]


@pytest.mark.parametrize("slug", ["A", "a_b", "a" * 33, "a{b}", "é", "acme\n", " acme"])
def test_other_slugs_are_refused(tmp_path: Path, slug: str) -> None:
    """Anything else would not do in keys and paths."""
    assert faults(tmp_path, **ENV | {"CPDFEED_TENANT": slug}) == (
        f"tenant {slug!r}: a slug is 1 to 32 of a-z, 0-9 and '-'",
    )


# --- unknown names ----------------------------------------------------------------------------


def test_unknown_variables_are_listed(tmp_path: Path) -> None:
    """A variable that looks like a setting and is none is listed; others are not ours."""
    settings = read(tmp_path, **ENV, CPDFEED_PERPAGE="5", CPDFEED_A="1", HOME="/", PORTS="1")
    assert settings.unknown == ("CPDFEED_A", "CPDFEED_PERPAGE")


def test_known_variables_are_not_listed(tmp_path: Path) -> None:
    """What the command line reads is known, and so is the file of a secret."""
    known = {"CPDFEED_URL": "http://127.0.0.1", "CPDFEED_TOKEN": "t"}
    assert read(tmp_path, **ENV, **known).unknown == ()


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("per_pages = 5", "per_pages: is no setting; did you mean per_page?"),
        ("zzz = 5", "zzz: is no setting"),
        ("slug = 'x'", "slug: is no setting"),
        ("unknown = []", "unknown: is no setting"),
    ],
)
def test_unknown_names_of_the_file_are_faults(tmp_path: Path, text: str, fault: str) -> None:
    """In the file nothing else can be meant, so an unknown name is a fault."""
    assert any(found.startswith(fault) for found in faults(tmp_path, text, **ENV))


def test_unknown_names_of_a_tenant_are_faults(tmp_path: Path) -> None:
    """A tenant's table holds a tenant's settings alone."""
    assert faults(tmp_path, TWO + "port = 80\n")[0].startswith("tenants.bolt.port: is no setting")


# --- secrets ----------------------------------------------------------------------------------


def test_secrets_never_show(tmp_path: Path) -> None:
    """Neither form of the settings, nor of a secret, holds a secret's text."""
    settings = read(
        tmp_path,
        **ENV,
        REDIS_URL="redis://:hidden-redis@127.0.0.1/0",
        CELERY_BROKER_URL="redis://:hidden-broker@127.0.0.1/0",
        CPDFEED_CLIENT_SECRET="hidden-client",
        CPDFEED_API_TOKENS=f"{DIGEST}:admin",
    )
    secret = settings.tenants["acme"].webhook_secrets[0]
    shown = f"{settings!r}{settings}{secret!r}{secret}"
    for hidden in ("hidden", "api-secret", "one", "two", DIGEST):
        assert hidden not in shown.replace("None", "")


def test_faults_hold_no_secret(tmp_path: Path) -> None:
    """A wrong secret is named, and not repeated."""
    with pytest.raises(SettingsError) as refused:
        read(
            tmp_path,
            'webhook_introspection_client_secret = ["hidden-a"]',
            **ENV | {"REDIS_URL": "hidden-b", "CPDFEED_API_TOKENS": "hidden-c:admin"},
        )
    assert len(refused.value.faults) == 3
    told = "".join(traceback.format_exception(refused.value)) + repr(refused.value)
    assert "hidden" not in told.replace("hidden-a\"]'", "").replace('"hidden-', "")


def test_equal_secrets_are_equal() -> None:
    """Secrets compare by what they hide."""
    assert Secret("a") == Secret("a")
    assert hash(Secret("a")) == hash(Secret("a"))
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"


# --- tokens and rules -------------------------------------------------------------------------


def test_api_tokens_carry_their_scopes(tmp_path: Path) -> None:
    """A token is the SHA-256 of its text with its scopes; the digest's case does not count."""
    text = f"{DIGEST}:feed:read+feed:write, {DIGEST.upper()}:admin"
    first, second = acme(tmp_path, CPDFEED_API_TOKENS=text).api_tokens
    assert (first.sha256, first.scopes) == (DIGEST, frozenset({"feed:read", "feed:write"}))
    assert (second.sha256, second.scopes) == (DIGEST, frozenset({"admin"}))


@pytest.mark.parametrize(
    "text",
    [
        "",
        DIGEST,
        f"{DIGEST}:",
        f"{DIGEST}:feed:all",
        f"{DIGEST}:admin+",
        f"{DIGEST[:-1]}:admin",
        f"{DIGEST}0:admin",
        f"{'g' * 64}:admin",
        f"{DIGEST[:-2]}  :admin",
        f"{'ab ' * 21}a:admin",
        "token:admin",
    ],
)
def test_other_tokens_are_refused(text: str) -> None:
    """What is not 64 hex digits and known scopes is refused, without being repeated."""
    with pytest.raises(ValueError, match=r"sha256-hex|hexadecimal") as refused:
        parse_token(text)
    assert not text or text not in str(refused.value)


def test_tokens_at_the_top_are_no_tenants(tmp_path: Path) -> None:
    """With several tenants, a tenant's tokens open it alone, and the top level's every tenant."""
    text = f'api_tokens = ["{DIGEST}:admin"]\n{TWO}api_tokens = "{"0" * 64}:feed:read"\n'
    settings = read(tmp_path, text)
    assert [token.sha256 for token in settings.api_tokens] == [DIGEST]
    assert settings.tenants["acme"].api_tokens == ()
    assert [token.sha256 for token in settings.tenants["bolt"].api_tokens] == ["0" * 64]


def test_scope_rules_come_first(tmp_path: Path) -> None:
    """A tenant's rules are tried in their order, before the built-in ones."""
    tenant = acme(tmp_path, CPDFEED_SCOPE_RULES="content.passed = named, x.* = collection")
    assert tenant.rules == (
        Rule("content.passed", Action.NAMED),
        Rule("x.*", Action.COLLECTION),
        *DEFAULT_RULES,
    )


@pytest.mark.parametrize("text", ["content.*", "content.*=", "content.*=drop", "=ignore"])
def test_other_rules_are_refused(tmp_path: Path, text: str) -> None:
    """A rule is a pattern and an action that exists."""
    found = faults(tmp_path, **ENV, CPDFEED_SCOPE_RULES=text)
    assert [fault.partition(":")[0] for fault in found] == ["CPDFEED_SCOPE_RULES"]


def test_process_ends_with_every_fault(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wrong settings end the process with code 2, and every fault on standard error."""
    monkeypatch.setenv("CPDFEED_PER_PAGE", "0")
    with pytest.raises(SystemExit) as ended:
        load_or_exit()
    assert ended.value.code == 2
    told = capsys.readouterr().err
    assert "CPDFEED_TENANT_ID" in told
    assert "CPDFEED_PER_PAGE" in told
