"""An SMTP server that keeps each mail as a file: HOST PORT TLS_PORT CERT KEY USER PASSWORD_FILE MAILS MOOD_FILE.

SIGHUP makes it read the certificate again; the password and the mood are read when they matter.
"""

import asyncio
import json
import os
import pathlib
import signal
import ssl
import sys

from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword

HOST, PORT, TLS_PORT, CERT, KEY, USER, PASSWORD, MAILS, MOOD = sys.argv[1:10]
MOODS = {"busy": "451 4.3.0 busy, come back", "full": "452 4.2.2 mailbox full", "refuse": "550 5.7.1 not wanted"}


class Keep:
    """Writes NUMBER.eml and NUMBER.json (envelope), each complete as soon as it has its name."""

    def __init__(self):
        self.number = 0

    async def handle_DATA(self, _server, session, envelope):
        mood = pathlib.Path(MOOD)
        refusal = MOODS.get(mood.read_text().strip() if mood.exists() else "well")
        if refusal:
            return refusal
        self.number += 1
        meta = {
            "from": envelope.mail_from, "to": envelope.rcpt_tos, "tls": session.ssl is not None,
            "authenticated": bool(session.authenticated),
        }
        base = pathlib.Path(MAILS) / f"{self.number:06}"
        for suffix, content in ((".json", json.dumps(meta).encode()), (".eml", envelope.content)):
            part = base.with_suffix(suffix + ".part")
            part.write_bytes(content)
            os.rename(part, base.with_suffix(suffix))
        return "250 2.0.0 kept"


def authenticate(_server, _session, _envelope, _mechanism, data):
    """Accepts the one user."""
    password = pathlib.Path(PASSWORD).read_bytes()
    good = isinstance(data, LoginPassword) and (data.login, data.password) == (USER.encode(), password)
    return AuthResult(success=good, handled=good)


async def main():
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(CERT, KEY)
    keep = Keep()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGHUP, context.load_cert_chain, CERT, KEY)

    def starttls():
        return SMTP(keep, hostname="mail.test", tls_context=context, authenticator=authenticate, auth_require_tls=True)

    def plain():
        return SMTP(keep, hostname="mail.test", authenticator=authenticate, auth_require_tls=False)

    servers = [
        await loop.create_server(starttls, HOST, int(PORT)),
        await loop.create_server(plain, HOST, int(TLS_PORT), ssl=context),
    ]
    await asyncio.gather(*(server.serve_forever() for server in servers))


asyncio.run(main())
