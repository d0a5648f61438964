"""A mail server that keeps what it gets, for looking at. Nothing leaves this machine."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.message import EmailMessage

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

LARGEST_MAIL = 64 << 20


@dataclass(frozen=True, slots=True)
class Mail:
    """One message as it came in; ``number`` counts from 1."""

    number: int
    came_at: datetime
    message: EmailMessage

    @property
    def to(self) -> str:
        return str(self.message["To"])

    @property
    def sender(self) -> str:
        return str(self.message["From"])

    @property
    def subject(self) -> str:
        return str(self.message["Subject"])

    @property
    def attachments(self) -> list[EmailMessage]:
        return list(self.message.iter_attachments())

    def body(self, kind: str) -> str:
        """The body of that kind, ``plain`` or ``html``; empty when there is none."""
        part = self.message.get_body((kind,))
        return "" if part is None else str(part.get_content())


class Mailbox:
    """All mails, newest last. While ``refusing`` is set, the server turns every mail away."""

    def __init__(self) -> None:
        self.refusing = False
        self._mails: list[Mail] = []
        self._changed = threading.Condition()

    def put(self, message: EmailMessage) -> None:
        with self._changed:
            self._mails.append(Mail(len(self._mails) + 1, datetime.now(UTC), message))
            self._changed.notify_all()

    def all(self) -> list[Mail]:
        with self._changed:
            return list(self._mails)

    def get(self, number: int) -> Mail | None:
        mails = self.all()
        return mails[number - 1] if 0 < number <= len(mails) else None

    def wait_for(self, count: int, timeout: float) -> bool:
        """Whether ``count`` mails have come within ``timeout`` seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: len(self._mails) >= count, timeout)

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        """Called by the mail server for each mail."""
        if self.refusing:
            return "451 4.3.0 This mail server was told to refuse mail"

        message = message_from_bytes(bytes(envelope.original_content or b""), policy=policy.default)
        self.put(message)

        return "250 2.0.0 Kept"


class _Server(Controller):
    def factory(self) -> SMTP:
        # Without a loop given, aiosmtpd makes a new one for each connection and never closes it.
        return SMTP(self.handler, loop=self.loop, **self.SMTP_kwargs)


@contextmanager
def serve(mailbox: Mailbox) -> Iterator[int]:
    """Run the mail server on loopback for as long as the block lasts; gives its port."""
    controller = _Server(mailbox, hostname="127.0.0.1", port=free_port(), data_size_limit=LARGEST_MAIL)
    controller.start()

    try:
        yield controller.port
    finally:
        controller.stop()


def free_port() -> int:
    """A port on loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
