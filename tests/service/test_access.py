"""Proxies, prefixes, TLS, and what is refused before a service starts."""

import asyncio
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import requests

from cyclegan_dist.errors import UsageError
from cyclegan_dist.service import connections
from cyclegan_dist.service.access import Access, open_access, refuse_certificate, refuse_root_path
from cyclegan_dist.service.audit import AuditLog
from cyclegan_dist.service.messages import Refusal, TranslationRequest
from cyclegan_dist.service.tokens import create_token
from tests.service.running import LIMITS, picture, post, running
from tests.service.test_audit import records


def opened(**options: Any) -> Access:
    """With what is given, of a service that only this machine can reach."""
    plain = {"tokens": "", "authentication": True, "where": "", "proxies": (), "audit_log": "", "report": print}
    return open_access(**{**plain, **options})


def test_only_a_service_of_this_machine_is_open_without_being_asked_to(tmp_path: Path) -> None:
    file = str(tmp_path / "tokens.json")
    create_token(Path(file), "ann")
    assert opened().authentication is None
    assert opened(where="--host 0.0.0.0", authentication=False).authentication is None
    assert opened(tokens=file).authentication and opened(where="--host 0.0.0.0", tokens=file).authentication
    with pytest.raises(UsageError, match=r"^--host ::1 can be .*: give --tokens FILE, .* or --no-authentication$"):
        opened(where="--host ::1")
    with pytest.raises(UsageError, match="exclude each other"):
        opened(tokens=file, authentication=False)
    with pytest.raises(UsageError, match="does not exist"):
        opened(tokens=f"{file}x")


@pytest.mark.parametrize("proxy", ["*", "", "proxy.example.org", "10.0.0.1/8", "10.0.0.1:80"])
def test_proxies_are_addresses_or_networks(proxy: str) -> None:
    with pytest.raises(UsageError, match=r"--trusted-proxy .*: give the address of a proxy"):
        opened(proxies=(proxy,))


@pytest.mark.parametrize(
    ("proxies", "client", "link"),
    [((), "127.0.0.1", "http"), (("10.0.0.1",), "127.0.0.1", "http"), (("127.0.0.0/8",), "198.51.100.7", "https")],
)
def test_forwarded_headers_are_believed_of_named_proxies_only(
    snapshot: Path, tmp_path: Path, proxies: tuple[str, ...], client: str, link: str
) -> None:
    log = tmp_path / "audit.jsonl"
    # The client claims the first address; the proxy adds the one that it sees.
    headers = {"X-Forwarded-For": "203.0.113.9, 198.51.100.7", "X-Forwarded-Proto": "https"}
    with running(snapshot, access=Access(proxies=proxies, audit=AuditLog(str(log)))) as url:
        page = requests.get(f"{url}docs", headers=headers, timeout=10).text
        assert f"{link}://{url.partition('://')[2]}translate?direction" in page
        assert records(log, 1)[0]["client"] == client


def test_places_are_those_of_the_forwarded_client(snapshot: Path) -> None:
    answered = threading.Event()

    async def waiting(request: TranslationRequest) -> Refusal:
        await asyncio.to_thread(answered.wait, 10)
        return Refusal(422, "done")

    limits = replace(LIMITS, max_requests_per_client=1)
    with running(snapshot, limits, waiting, access=Access(proxies=("127.0.0.1",))) as url, ThreadPoolExecutor() as pool:

        def ask(client: str) -> int:
            return post(f"{url}translate", data=picture(), headers={"X-Forwarded-For": client}).status_code

        def wait_until_running(count: int) -> None:
            until = time.monotonic() + 10
            while f"running {count}.0" not in requests.get(f"{url}metrics", timeout=10).text:
                assert time.monotonic() < until
                time.sleep(0.01)

        first = pool.submit(ask, "198.51.100.7")
        wait_until_running(1)
        assert ask("198.51.100.7") == 503  # its place is taken
        second = pool.submit(ask, "198.51.100.8")
        wait_until_running(2)
        answered.set()
        assert (first.result(), second.result()) == (422, 422)


def test_under_a_prefix_all_addresses_have_it(snapshot: Path) -> None:
    """A proxy passes /horses/translate on as /translate."""
    with running(snapshot, root_path="/horses") as url:
        assert post(f"{url}translate", data=picture()).status_code == 200
        document = requests.get(f"{url}openapi.json", timeout=10).json()
        assert document["servers"] == [{"url": "/horses"}] and "/translate" in document["paths"]
        assert f'"{url}horses/translate?direction=AB"' in requests.get(f"{url}docs", timeout=10).text
        assert "there are /horses/, /horses/docs" in requests.get(f"{url}nothing", timeout=10).json()["error"]
        moved = requests.get(f"{url}health/", allow_redirects=False, timeout=10)
        assert (moved.status_code, moved.headers["Location"]) == (307, f"{url}horses/health")
        link = {"Sec-Fetch-Site": "cross-site"}
        assert requests.get(url, headers=link, timeout=10).status_code == 200
        assert requests.get(f"{url}health", headers=link, timeout=10).status_code == 403


@pytest.mark.parametrize("path", ["horses", "/", "/horses/", "/a//b", "/a b", "http://a/b", "/ä"])
def test_what_is_no_prefix_is_refused(path: str) -> None:
    refuse_root_path("")
    refuse_root_path("/a/b-c.d")
    with pytest.raises(UsageError, match=r"--root-path .*: give a path such as /horse2zebra"):
        refuse_root_path(path)


@pytest.fixture(scope="module")
def pems(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a certificate, its key, the same with a password, and another key."""
    folder = tmp_path_factory.mktemp("pems")
    new = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-subj", "/CN=localhost"]
    for words in (
        [*new, "-nodes", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", "key.pem", "-out", "cert.pem"],
        [*new, "-nodes", "-keyout", "other.pem", "-out", "unused.pem"],
        ["pkey", "-in", "key.pem", "-aes256", "-passout", "pass:secret", "-out", "encrypted.pem"],
    ):
        subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)
    (folder / "junk.pem").write_text("junk")
    return folder


def test_requests_are_encrypted_with_a_certificate(snapshot: Path, pems: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "CLOSE_SECONDS", 0.1)
    tls = pems / "cert.pem", pems / "key.pem"
    refuse_certificate(*tls)
    with requests.Session() as idle, running(snapshot, tls=tls) as url:
        secure = url.replace("http:", "https:")
        answer = requests.post(f"{secure}translate", data=picture(), verify=str(tls[0]), timeout=10)
        assert answer.status_code == 200
        assert f"{secure}translate" in requests.get(f"{secure}docs", verify=str(tls[0]), timeout=10).text
        with pytest.raises(requests.exceptions.ConnectionError):
            requests.get(f"{url}health", timeout=10)
        assert idle.get(f"{secure}health", verify=str(tls[0]), timeout=10).status_code == 200
        began = time.monotonic()
    assert time.monotonic() - began < 10  # although a client keeps its connection and does not answer TLS's end


@pytest.mark.parametrize(
    ("cert", "key", "sentence"),
    [
        ("cert.pem", "", "--tls-cert and --tls-key belong together"),
        ("", "key.pem", "--tls-cert and --tls-key belong together"),
        ("nothing.pem", "key.pem", r"--tls-cert \S+nothing.pem cannot be read: No such file"),
        ("cert.pem", "nothing.pem", r"--tls-key \S+nothing.pem cannot be read: No such file"),
        ("cert.pem", "other.pem", r"other.pem is not the key of \S+cert.pem"),
        ("cert.pem", "encrypted.pem", r"encrypted.pem is encrypted: give one without a password"),
        ("cert.pem", "junk.pem", "are no certificate and its key in PEM"),
        ("junk.pem", "key.pem", "are no certificate and its key in PEM"),
    ],
)
def test_certificates_that_cannot_be_used_are_one_line(pems: Path, cert: str, key: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence) as caught:
        refuse_certificate(pems / cert if cert else None, pems / key if key else None)
    assert "\n" not in str(caught.value)
