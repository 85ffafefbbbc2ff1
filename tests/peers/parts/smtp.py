"""SMTP: aiosmtpd with STARTTLS and AUTH, and a second port with TLS from the first byte. Keeps each mail as a file."""

import os
import shutil
import smtplib

import peer


class Part(peer.Part):
    modules = ("aiosmtpd",)
    starttls = ("-starttls", "smtp")

    @classmethod
    def version(cls):
        return "aiosmtpd " + next(peer.VENV.glob("lib/python*/site-packages/aiosmtpd-*")).name.split("-")[1].removesuffix(".dist")

    def prepare(self):
        self.password = peer.token()
        self.tls_port = peer.free_port()
        self.mails = self.home / "mails"
        self.mails.mkdir()
        (self.home / "password").write_text(self.password)

    def command(self):
        cert, key = self.served()
        server = os.path.join(os.path.dirname(__file__), "..", "servers", "smtp_server.py")
        return [
            peer.VENV / "bin" / "python", server, self.host, self.port, self.tls_port, cert, key, "dihya",
            self.home / "password", self.mails, self.home / "mood",
        ]

    def ports(self):
        return [self.port, self.tls_port]

    def ready(self):
        super().ready()
        with smtplib.SMTP(self.host, self.port, timeout=5) as client:
            client.noop()

    def info(self):
        return {"tls_port": self.tls_port, "user": "dihya", "password": self.password, "mails": str(self.mails)}

    def tls_ports(self):
        return [self.port]

    def do_lock_out(self, switch):
        """`lock-out smtp on|off`: the password is another one."""
        (self.home / "password").write_text(peer.token() if switch == "on" else self.password)

    def do_mood(self, mood):
        """`mood smtp well|busy|full|refuse`: it answers mails with 250, 451, 452 or 550 from now on."""
        (self.home / "mood").write_text(mood)

    def do_empty(self):
        """`empty smtp`: forgets the mails so far."""
        shutil.rmtree(self.mails)
        self.mails.mkdir()
