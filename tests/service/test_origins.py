import pytest
import requests

from cyclegan_dist.service.origins import AllowedHosts
from cyclegan_dist.service.server import listen
from tests.service.running import picture, post

OTHER = "https://attacker.example"


@pytest.mark.parametrize(
    ("address", "allowed", "refused"),
    [
        (
            "127.0.0.1",
            ["127.0.0.1:8000", "LOCALHOST", "localhost.:80", "[::1]:8000", "page.localhost", "Images.Example.org:443"],
            [
                "",
                "attacker.example",
                "127.0.0.1.attacker.example",
                "10.0.0.1",
                "[::2]",
                "[",
                "localhost@attacker.example",
            ],
        ),
        (
            "0.0.0.0",
            ["10.0.0.1:8000", "[fe80::1]", "localhost"],
            ["attacker.example", "10.0.0.1.attacker.example", "2130706433"],
        ),
    ],
)
def test_hosts(address: str, allowed: list[str], refused: list[str]) -> None:
    with listen(address, 0) as listener:
        hosts = AllowedHosts.of(listener, ["images.EXAMPLE.org"])
    assert [host for host in allowed if host not in hosts] == []
    assert [host for host in refused if host in hosts] == []


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "attacker.example"}, 421),
        ({"Origin": OTHER}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://127.0.0.1:1"}, 403),
        ({"Origin": "http://["}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Origin": OTHER, "Sec-Fetch-Site": "same-origin"}, 403),
        ({"Sec-Fetch-Site": "none"}, 200),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({"Host": "localhost:1234", "Origin": "http://localhost:1234"}, 200),
        ({"Host": "localhost", "Origin": "https://localhost"}, 200),  # behind a proxy with TLS
    ],
)
def test_requests_of_other_sites_are_refused(service: str, headers: dict[str, str], status: int) -> None:
    answers = [
        post(f"{service}translate", data=picture(), headers=headers),
        requests.get(f"{service}card", headers=headers, timeout=20),
        requests.get(f"{service}health", headers=headers, timeout=20),
    ]
    assert [answer.status_code for answer in answers] == [status] * 3
    assert all(answer.headers["Cross-Origin-Resource-Policy"] == "same-origin" for answer in answers)


def test_the_page_may_be_linked_to_and_forms_are_refused(service: str) -> None:
    link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert requests.get(service, headers=link, timeout=20).status_code == 200
    assert requests.get(service, headers={**link, "Host": "attacker.example"}, timeout=20).status_code == 421
    assert post(f"{service}translate", data=picture(), headers={"Content-Type": "Text/Plain"}).status_code == 415
