"""Redis: a password, one port without TLS and one with."""

import socket
import ssl

import peer


class Part(peer.Part):
    needs = ("redis-server",)
    version_command = ("redis-server", "--version")

    def prepare(self):
        self.password = peer.token()
        self.tls_port = peer.free_port()
        cert, key = self.served()
        (self.home / "redis.conf").write_text(
            f"bind {self.host}\nport {self.port}\ntls-port {self.tls_port}\ntls-cert-file {cert}\ntls-key-file {key}\n"
            f"tls-ca-cert-file {self.certs.ca}\ntls-auth-clients no\nrequirepass {self.password}\n"
            f'save ""\nappendonly no\ndir {self.home}\n'
        )

    def command(self):
        return ["redis-server", self.home / "redis.conf"]

    def ports(self):
        return [self.port, self.tls_port]

    def info(self):
        return {"tls_port": self.tls_port, "password": self.password}

    def ask(self, *lines):
        """Sends inline commands after the password, and returns the last line of the answer."""
        with socket.create_connection((self.host, self.port), timeout=5) as stream:
            answers = stream.makefile("rwb")
            for line in (f"AUTH {self.password}", *lines):
                answers.write(line.encode() + b"\r\n")
                answers.flush()
                answer = answers.readline().decode().strip()
                if answer.startswith("-"):
                    raise peer.Refused(answer)
            return answer

    def ready(self):
        super().ready()
        if self.ask("PING") != "+PONG":
            raise peer.Refused("no PONG")
        context = ssl.create_default_context(cafile=self.certs.ca)
        with socket.create_connection((self.host, self.tls_port), timeout=5) as stream:
            context.wrap_socket(stream, server_hostname="localhost").close()

    def reload(self):
        cert, key = self.served()
        self.ask(f"CONFIG SET tls-cert-file {cert} tls-key-file {key}")

    def do_readonly(self, switch):
        """`readonly redis on|off`: it becomes the replica of a master that is away, and back."""
        self.ask("REPLICAOF NO ONE" if switch == "off" else f"REPLICAOF {self.host} 1")

    def do_lock_out(self, switch):
        """`lock-out redis on|off`: the password is another one."""
        new = peer.token() if switch == "on" else self.password
        old = getattr(self, "locked", None) or self.password
        self.password, kept = old, self.password
        try:
            self.ask(f"CONFIG SET requirepass {new}")
        finally:
            self.password = kept
        self.locked = new if switch == "on" else None
