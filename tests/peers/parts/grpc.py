"""gRPC: the standard health service of grpcio, in plaintext and with TLS; services "" and "clinic"."""

import os

import peer


class Part(peer.Part):
    modules = ("grpc", "grpc_health")

    @classmethod
    def version(cls):
        return "grpcio " + next(peer.VENV.glob("lib/python*/site-packages/grpcio-[0-9]*")).name.split("-")[1].removesuffix(".dist")

    def prepare(self):
        self.tls_port = peer.free_port()
        self.certs.pair()

    def command(self):
        cert, key = self.certs.pair()
        server = os.path.join(os.path.dirname(__file__), "..", "servers", "grpc_server.py")
        return [peer.VENV / "bin" / "python", server, self.port, self.tls_port, cert, key, self.home / "status"]

    def ports(self):
        return [self.port, self.tls_port]

    def info(self):
        return {"tls_port": self.tls_port, "service": "clinic"}

    def do_status(self, status):
        """`status grpc SERVING|NOT_SERVING|UNKNOWN`: what the service `clinic` says from now on."""
        acknowledged = self.home / "status.done"
        acknowledged.unlink(missing_ok=True)
        (self.home / "status.new").write_text(status)
        (self.home / "status.new").rename(self.home / "status")
        while not acknowledged.exists():
            if self.process.poll() is not None:
                raise peer.Refused("it is not running")
