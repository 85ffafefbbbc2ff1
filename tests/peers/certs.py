"""Certificates for the tests: one authority, and a certificate for each way in which one can be wrong."""

import datetime
import subprocess
import threading

from peer import which

CONFIG = """
[ca]
default_ca = test
[test]
database = {root}/index.txt
serial = {root}/serial
new_certs_dir = {root}
default_md = sha256
policy = any
unique_subject = no
copy_extensions = copy
[any]
commonName = supplied
"""


class Certs:
    """A directory with `ca.pem` and pairs NAME.pem, NAME.key on P-256, made when asked for."""

    def __init__(self, root):
        root.mkdir(mode=0o755)
        self.root = root
        self.lock = threading.Lock()  # parts start in parallel; `openssl ca` keeps a file of what it signed
        self.ca = root / "ca.pem"
        (root / "openssl.cnf").write_text(CONFIG.format(root=root))
        (root / "index.txt").write_text("")
        (root / "serial").write_text("1000\n")
        self.openssl(
            "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "3650",
            "-subj", "/CN=Dihya test authority", "-keyout", root / "ca.key", "-out", self.ca,
            "-addext", "keyUsage=critical,keyCertSign,cRLSign",
        )

    def openssl(self, *arguments):
        """Runs openssl and fails with its output."""
        subprocess.run([which("openssl"), *map(str, arguments)], check=True, capture_output=True)

    def pair(self, name="good", hosts=("localhost",), days=(-30, 365), self_signed=False):
        """The paths of a certificate and its key: valid from and until so many days from now, for `hosts`."""
        with self.lock:
            return self.made(name, hosts, days, self_signed)

    def made(self, name, hosts, days, self_signed):
        """As `pair`, under the lock."""
        cert, key = self.root / f"{name}.pem", self.root / f"{name}.key"
        if cert.exists():
            return cert, key
        request = self.root / f"{name}.csr"
        names = ",".join([f"DNS:{host}" for host in hosts] + (["IP:127.0.0.1"] if "localhost" in hosts else []))
        new = ["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key,
               "-subj", f"/CN={hosts[0]}", "-addext", f"subjectAltName={names}"]
        if self_signed:
            self.openssl(*new, "-x509", "-days", days[1], "-addext", "basicConstraints=critical,CA:FALSE", "-out", cert)
        else:
            self.openssl(*new, "-out", request)
            now = datetime.datetime.now(datetime.timezone.utc)
            start, end = ((now + datetime.timedelta(days=day)).strftime("%Y%m%d%H%M%SZ") for day in days)
            self.openssl(
                "ca", "-batch", "-config", self.root / "openssl.cnf", "-name", "test", "-notext",
                "-cert", self.ca, "-keyfile", self.root / "ca.key",
                "-startdate", start, "-enddate", end, "-in", request, "-out", cert,
            )
        key.chmod(0o644)  # servers that run as another user read it; it protects nothing
        return cert, key
