"""Receivers of alerts on this machine: a web server, and a mail relay."""

import email
import email.policy
import http.server
import json
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage
from typing import Any


@dataclass
class WebReceiver:
    """What was posted to `url`: headers with names in small letters, and bodies.

    Attributes:
        statuses: of the next answers; then 200.
        holds: while it is set, nothing is answered.
    """

    url: str = ""
    posts: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    holds: threading.Event = field(default_factory=threading.Event)

    @property
    def bodies(self) -> list[dict[str, Any]]:
        return [json.loads(body) for _, body in self.posts]

    @property
    def events(self) -> list[str]:
        return [body["event"] for body in self.bodies]


@contextmanager
def web_receiver() -> Iterator[WebReceiver]:
    """A web server that takes posts while the block lasts."""
    received, ended = WebReceiver(), threading.Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            while received.holds.is_set() and not ended.wait(0.02):
                pass
            received.posts.append(({name.lower(): value for name, value in self.headers.items()}, body))
            self.send_response(received.statuses.pop(0) if received.statuses else 200)
            self.send_header("Location", "/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        received.url = f"http://127.0.0.1:{server.server_address[1]}/hook"
        yield received
        ended.set()
        server.shutdown()


@dataclass
class MailReceiver:
    """What a relay at `address` has taken.

    Attributes:
        refused: addresses that it does not take.
        hangs: whether it accepts connections and never answers.
    """

    address: str = ""
    messages: list[EmailMessage] = field(default_factory=list)
    refused: set[str] = field(default_factory=set)
    hangs: bool = False


@contextmanager
def mail_receiver() -> Iterator[MailReceiver]:
    """A mail relay while the block lasts."""
    received, ended = MailReceiver(), threading.Event()

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            if received.hangs:
                ended.wait(60)
                return
            self.answer("220 relay")
            while line := self.rfile.readline().decode().strip():  # smtplib writes commands in small letters
                command, _, rest = line.partition(" ")
                command = command.upper()
                if command == "DATA":
                    self.answer("354 go on")
                    self.take()
                elif command == "QUIT":
                    self.answer("221 bye")
                    return
                elif command == "RCPT" and any(f"<{one}>" in rest for one in received.refused):
                    self.answer("550 no such user")
                else:
                    self.answer("250 ok")

        def take(self) -> None:
            lines = []
            while (line := self.rfile.readline()) not in (b".\r\n", b""):
                lines.append(line.removeprefix(b".") if line.startswith(b"..") else line)
            received.messages.append(email.message_from_bytes(b"".join(lines), policy=email.policy.default))
            self.answer("250 taken")

        def answer(self, text: str) -> None:
            self.wfile.write(f"{text}\r\n".encode())

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True

    with Server(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        received.address = f"127.0.0.1:{server.server_address[1]}"
        yield received
        ended.set()
        server.shutdown()
