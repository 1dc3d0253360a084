import pytest

from starling.frame import oidc
from starling.frame.config import Config, Faults, load

_ISSUER = {"OIDC_ISSUER": "https://i.example", "OIDC_AUDIENCE": "a"}


def _load(environ: dict[str, str], files: dict[str, str] | None = None) -> tuple[Config, Faults]:
    def read(path: str) -> bytes:
        try:
            return (files or {})[path].encode()
        except KeyError:
            raise FileNotFoundError(path) from None

    return load(environ, read, "starling-test")


def test_the_environment_beats_the_file_beats_the_defaults() -> None:
    config, faults = _load(
        {"HTTP_PORT": "9001", "LOG_LEVEL": ""},
        {"deploy/config/dev.yaml": "HTTP_PORT: 9000\nREQUEST_TIMEOUT_MS: 2000\nLOG_LEVEL: warn\nDATABASE_URL: x\n"},
    )
    assert not faults
    assert config == Config(
        env="dev",
        service_name="starling-test",
        log_level="warn",
        config_path="",
        http_host="127.0.0.1",
        http_port=9001,
        request_timeout_ms=2000,
        shutdown_timeout_ms=15000,
        metrics_port=0,
        issuers=(oidc.Issuer(oidc.DEV_ISSUER, ("starling",), platform=True),),
    )


def test_outside_dev_it_is_reachable() -> None:
    config, faults = _load({"ENV": "prod", **_ISSUER})
    assert not faults
    assert config.http_host == "0.0.0.0"


@pytest.mark.parametrize(
    ("environ", "file", "want"),
    [
        ({"HTTP_PORT": "65536"}, "", ("HTTP_PORT", "want a whole number 0..65535")),
        ({"HTTP_PORT": "+80"}, "", None),
        ({"HTTP_PORT": " 80 "}, "", None),
        ({"HTTP_PORT": "1_0"}, "", ("HTTP_PORT", "want a whole number 0..65535")),
        ({"HTTP_PORT": "٣"}, "", ("HTTP_PORT", "want a whole number 0..65535")),
        ({"HTTP_PORT": "9" * 5000}, "", ("HTTP_PORT", "want a whole number 0..65535")),
        ({"METRICS_PORT": "8080"}, "", ("METRICS_PORT", "the same as HTTP_PORT")),
        ({"METRICS_PORT": "0", "HTTP_PORT": "0"}, "", None),
        ({"SERVICE_NAME": "ä" * 33}, "", ("SERVICE_NAME", "want at most 64 printable characters")),
        ({"ENV": "production", **_ISSUER}, "", ("ENV", "want one of dev, staging, prod")),
        ({}, "LOG_LEVEL: [a, b]", ("LOG_LEVEL", "want one of debug, info, warn, error")),
        ({}, "LOG_LEVEL: {a: b}", ("LOG_LEVEL", "want a single value")),
        ({}, "SERVICE_NAME: yes", None),
        ({}, "12: 3", ("12", "unknown key in the configuration file")),
        ({}, "? [a]\n: b", ("CONFIG_PATH", "the file is not a YAML mapping of keys to values (line 1)")),
        ({}, "A: 1\nB: [", ("CONFIG_PATH", "the file is not a YAML mapping of keys to values (line 2)")),
        (
            {},
            "A: !!python/object:os.system x",
            ("CONFIG_PATH", "the file is not a YAML mapping of keys to values (line 1)"),
        ),
        ({}, "[" * 5000, ("CONFIG_PATH", "the file is not a YAML mapping of keys to values")),
        ({}, "null", None),
    ],
)
def test_faults_of_single_keys(environ: dict[str, str], file: str, want: tuple[str, str] | None) -> None:
    _, faults = _load(environ, {"deploy/config/dev.yaml": file})
    assert faults.missing == []
    assert faults.invalid == ([want] if want else [])


def test_a_file_with_a_scalar_keeps_it_as_it_stands() -> None:
    config, _ = _load({}, {"deploy/config/dev.yaml": "SERVICE_NAME: 010"})
    assert config.service_name == "010"


def test_which_file_is_read() -> None:
    config, faults = _load(
        {"CONFIG_PATH": "/mine.yaml"}, {"/mine.yaml": "HTTP_PORT: 7000", "deploy/config/dev.yaml": "HTTP_PORT: 1"}
    )
    assert (config.http_port, config.config_path, faults.invalid) == (7000, "/mine.yaml", [])
    _, faults = _load({"CONFIG_PATH": "/nowhere.yaml"})
    assert faults.invalid == [("CONFIG_PATH", "the file cannot be read")]


def test_a_file_that_is_there_and_cannot_be_read_is_a_fault() -> None:
    def read(path: str) -> bytes:
        raise PermissionError(path)

    _, faults = load({}, read, "s")
    assert faults.invalid == [("CONFIG_PATH", "deploy/config/dev.yaml cannot be read")]


def test_with_faults_there_is_enough_to_log_and_to_listen() -> None:
    config, faults = _load({"ENV": "nonsense", **_ISSUER, "HTTP_PORT": "x", "LOG_LEVEL": "loud"})
    assert [key for key, _ in faults.invalid] == ["ENV", "HTTP_PORT", "LOG_LEVEL"]
    assert (config.env, config.http_port, config.log_level, config.http_host) == ("prod", 8080, "info", "0.0.0.0")


def _faults(environ: dict[str, str], file: str = "") -> list[tuple[str, str]]:
    _, faults = _load(environ, {"/issuers.yaml": file})
    return [*((key, "missing") for key in faults.missing), *faults.invalid]


_URL = "want a URL https://host… (http:// leads no further than this machine)"


@pytest.mark.parametrize(
    ("environ", "want"),
    [
        ({"ENV": "prod"}, [("OIDC_AUDIENCE", "missing"), ("OIDC_ISSUER", "missing")]),
        ({"ENV": "prod", **_ISSUER}, []),
        ({"ENV": "prod", **_ISSUER, "OIDC_ISSUER": "http://i.example"}, [("OIDC_ISSUER", _URL)]),
        ({"ENV": "prod", **_ISSUER, "OIDC_ISSUER": "http://127.0.0.1:1"}, []),
        ({**_ISSUER, "OIDC_ISSUER": "http://i.example"}, []),
        ({**_ISSUER, "OIDC_ISSUER": "i.example"}, [("OIDC_ISSUER", "want a URL http(s)://host…")]),
        (
            {"ENV": "prod", "DEV_ISSUER_ENABLED": "true"},
            [("DEV_ISSUER_ENABLED", "the development issuer is refused outside ENV=dev")],
        ),
        ({"DEV_ISSUER_ENABLED": "yes"}, [("DEV_ISSUER_ENABLED", "want true or false")]),
        (
            {**_ISSUER, "OIDC_ROLE_MAP": "a=b"},
            [("OIDC_ROLE_MAP", "want theirs=ours, separated by commas; ours is one of " + ", ".join(oidc.ROLES))],
        ),
        ({**_ISSUER, "OIDC_ISSUERS_FILE": "/x"}, [("OIDC_ISSUERS_FILE", "either OIDC_ISSUER or OIDC_ISSUERS_FILE")]),
        ({"OIDC_ISSUERS_FILE": "/x"}, [("OIDC_ISSUERS_FILE", "the file cannot be read")]),
    ],
)
def test_whose_tokens_are_taken(environ: dict[str, str], want: list[tuple[str, str]]) -> None:
    assert _faults(environ) == want


def test_a_file_of_issuers() -> None:
    file = (
        "issuers:\n- {issuer: https://a.example, audiences: [x], tenants: [AAAAAAAA-AAAA-4AAA-8AAA-AAAAAAAAAAAA],"
        " roles: {boss: admin}}\n"
        "- {issuer: https://b.example, audiences: [y], client_ids: [p], platform_admin: true}\n"
    )
    config, faults = _load({"ENV": "prod", "OIDC_ISSUERS_FILE": "/i"}, {"/i": file})
    assert not faults
    assert config.issuers == (
        oidc.Issuer(
            "https://a.example",
            ("x",),
            tenants=("aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa",),
            roles={"boss": "admin"},
        ),
        oidc.Issuer("https://b.example", ("y",), client_ids=("p",), platform=True),
    )


def test_a_clients_id_counts_as_ours_and_the_map_is_read() -> None:
    config, _ = _load({**_ISSUER, "OIDC_ROLE_MAP": "boss=admin, hand = robot"})
    (issuer,) = config.issuers
    assert issuer.client_ids == ("starling-page",)
    assert issuer.roles == {"boss": "admin", "hand": "robot"}
