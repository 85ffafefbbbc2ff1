"""S3: moto's server, with one bucket."""

import urllib.request

import peer


class Part(peer.Part):
    modules = ("moto", "flask")

    @classmethod
    def version(cls):
        return "moto " + next(peer.VENV.glob("lib/python*/site-packages/moto-*")).name.split("-")[1].removesuffix(".dist")

    def command(self):
        return [peer.VENV / "bin" / "moto_server", "-H", peer.HOST, "-p", self.port]

    def call(self, path, method, body=b"", **headers):
        """Asks the server, unsigned as moto allows."""
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(f"http://{peer.HOST}:{self.port}{path}", data=body, method=method, headers=headers)
        with urllib.request.urlopen(request, timeout=5) as answer:
            return answer.read()

    def do_start(self):
        super().do_start()
        self.call("/backups", "PUT", Authorization="AWS4-HMAC-SHA256 Credential=test/20200101/us-east-1/s3/aws4_request")

    def info(self):
        return {"bucket": "backups", "region": "us-east-1", "access_key": "test", "secret_key": "test-secret-key-of-s3"}
