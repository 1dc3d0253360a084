"""What tokens_test.go does not try on the real process: keys over time, issuers, tenants."""

import asyncio
import base64
import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from prometheus_client import CollectorRegistry

from starling.frame import app as frame
from starling.frame import auth, jwks, oidc
from starling.frame.jwks import RemoteKeys, UnavailableError, UnknownKeyError
from tests.asgi import Book, Reply, asked, options

_TENANT = "11111111-1111-4111-8111-111111111111"
_OTHER = "22222222-2222-4222-8222-222222222222"
_ISSUER = oidc.Issuer("https://i.example", ("starling",), tenants=(_TENANT,))


def _b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _jwk(key: Ed25519PrivateKey, kid: str) -> dict[str, str]:
    x = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    return {"kty": "OKP", "crv": "Ed25519", "kid": kid, "use": "sig", "x": _b64(x)}


def _set(**keys: Ed25519PrivateKey) -> jwks.KeySet:
    return jwks.read_keys(json.dumps({"keys": [_jwk(key, kid) for kid, key in keys.items()]}).encode())


def _token(key: Ed25519PrivateKey, kid: str = "k", **claims: Any) -> str:
    now = int(time.time())
    base = {
        "iss": _ISSUER.url,
        "aud": "starling",
        "sub": "s",
        "iat": now - 60,
        "exp": now + 60,
        "roles": ["viewer", "platform_admin"],
        "tenant_id": _TENANT,
    }
    header = {"alg": "EdDSA", "kid": kid}
    signing = f"{_b64(json.dumps(header).encode())}.{_b64(json.dumps(base | claims).encode())}"
    return f"{signing}.{_b64(key.sign(signing.encode()))}"


def _door(work: Callable[[oidc.Issuer], jwks.KeySet]) -> Callable[..., Reply]:
    book = Book()
    verifier = auth.verifier([_ISSUER], 300, 30, book.log, CollectorRegistry())
    for keys in verifier.sources:
        keys.work = work
    app = frame.build(options(log=book.log, verifier=verifier))
    return lambda path="/api/v1/me", **headers: asked(app, path, **headers)


def test_who_am_i() -> None:
    key = Ed25519PrivateKey.generate()
    ask = _door(lambda _: _set(k=key))
    reply = ask(authorization="Bearer " + _token(key, name="N", extra={"a": [1, None]}))
    assert reply.status == 200, reply.body
    who = reply.json()
    assert {name: who[name] for name in ("subject", "email", "name", "roles", "tenant_ids")} == {
        "subject": "s",
        "email": None,
        "name": "N",
        "roles": ["viewer"],
        "tenant_ids": [_TENANT],
    }
    assert who["claims"]["extra"] == {"a": [1, None]}


def test_a_tenant_must_be_the_tokens_and_the_issuers() -> None:
    key = Ed25519PrivateKey.generate()
    ask = _door(lambda _: _set(k=key))
    good = "Bearer " + _token(key)
    assert ask(authorization=good, x_tenant_id=_TENANT.upper()).status == 200
    for wrong in (_OTHER, "", "x"):
        ask(authorization=good, x_tenant_id=wrong).fails(403, "FORBIDDEN")
    ask(authorization=good, x_tenant_slug="acme").fails(403, "FORBIDDEN")
    assert ask(authorization="Bearer " + _token(key, tenant_id=_OTHER)).json()["tenant_ids"] == []


def test_nobody_is_let_in_without_keys() -> None:
    def away(_: oidc.Issuer) -> jwks.KeySet:
        raise OSError("innards")

    reply = _door(away)(authorization="Bearer " + _token(Ed25519PrivateKey.generate()))
    reply.fails(503, "UNAVAILABLE")
    assert reply.headers["retry-after"] == "1"
    asked(frame.build(options()), "/api/v1/me", authorization="Bearer x").fails(503, "UNAVAILABLE")


def test_the_token_comes_before_all_else() -> None:
    ask = _door(lambda _: {})
    reply = ask("/api/v1/me?unknown=1")
    reply.fails(401, "UNAUTHENTICATED")
    assert reply.headers["www-authenticate"] == 'Bearer realm="starling"'


class _Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def _keys(work: Callable[[oidc.Issuer], jwks.KeySet], clock: _Clock) -> RemoteKeys:
    return RemoteKeys(_ISSUER, 300, Book().log, now=clock, work=work)


def test_keys_are_kept_for_their_time_and_no_longer() -> None:
    clock, calls, away = _Clock(), 0, False

    def work(_: oidc.Issuer) -> jwks.KeySet:
        nonlocal calls
        calls += 1
        if away:
            raise OSError("away")
        return _set(k=Ed25519PrivateKey.generate())

    async def run() -> None:
        nonlocal away
        keys = _keys(work, clock)
        await asyncio.gather(*(keys.find("k", "EdDSA", None) for _ in range(20)))
        assert calls == 1
        away = True
        clock.now += 299
        await keys.find("k", "EdDSA", None)
        clock.now += 1.5
        with pytest.raises(UnavailableError):
            await keys.find("k", "EdDSA", None)
        away = False
        clock.now += 2
        await keys.find("k", "EdDSA", None)

    asyncio.run(run())


def test_an_unknown_key_is_asked_for_once_and_a_wrong_algorithm_never() -> None:
    clock, calls = _Clock(), 0

    def work(_: oidc.Issuer) -> jwks.KeySet:
        nonlocal calls
        calls += 1
        return _set(k=Ed25519PrivateKey.generate())

    async def run() -> None:
        keys = _keys(work, clock)
        await keys.find("k", "EdDSA", None)
        with pytest.raises(UnknownKeyError):
            await keys.find("k", "ES256", None)
        clock.now += 1
        for _ in range(5):  # made before the set was asked for
            with pytest.raises(UnknownKeyError):
                await keys.find("x", "EdDSA", time.time() - 60)
        assert calls == 1
        clock.now += 2
        with pytest.raises(UnknownKeyError):
            await keys.find("x", "EdDSA", None)
        assert calls == 2

    asyncio.run(run())


def test_a_rotation_refuses_nobody() -> None:
    old, new = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    current = _set(old=old)

    async def run() -> None:
        nonlocal current
        keys = RemoteKeys(_ISSUER, 300, Book().log, work=lambda _: current, every_s=0.05)
        await keys.find("old", "EdDSA", None)
        current = _set(new=new)
        await asyncio.gather(*(keys.find("new", "EdDSA", time.time() + 30) for _ in range(50)))

    asyncio.run(run())


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{}", b'{"keys":1}', json.dumps({"keys": [{}] * 101}).encode()],
)
def test_what_is_no_set_of_keys(body: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 // json's and ours
        jwks.read_keys(body)
