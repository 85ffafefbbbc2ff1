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


# name: how the certificate is made
KINDS = {
    "good": {},
    "expired": {"days": (-90, -3)},
    "soon": {"days": (-80, 5)},
    "not-yet": {"days": (2, 90)},
    "wrong-host": {"hosts": ("other.example",)},
    "self-signed": {"self_signed": True},
    "stranger": {"authority": "stranger"},
    "forged": {"authority": "forger"},
}

AUTHORITIES = {"test": "Dihya test authority", "stranger": "Another authority", "forger": "Dihya test authority"}


class Certs:
    """A directory with `test-ca.pem` and pairs NAME.pem, NAME.key on P-256, made when asked for.

    No test trusts the other AUTHORITIES: one of another name, and one that says it is ours.
    """

    def __init__(self, root):
        self.addresses = ["127.0.0.1"]  # what our hosts are reached at
        root.mkdir(mode=0o755)
        self.root = root
        self.lock = threading.Lock()  # parts start in parallel; `openssl ca` keeps a file of what it signed
        self.ca = self.authority("test")
        (root / "openssl.cnf").write_text(CONFIG.format(root=root))
        (root / "index.txt").write_text("")
        (root / "serial").write_text("1000\n")
        self.make_authority("test")

    def authority(self, name):
        """The path of an authority's certificate."""
        return self.root / f"{name}-ca.pem"

    def make_authority(self, name):
        """Makes NAME-ca.pem and NAME-ca.key, which vouch for others."""
        self.openssl(
            "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "3650",
            "-subj", f"/CN={AUTHORITIES[name]}", "-keyout", self.root / f"{name}-ca.key", "-out", self.authority(name),
            "-addext", "keyUsage=critical,keyCertSign,cRLSign",
        )

    def openssl(self, *arguments):
        """Runs openssl and fails with its output."""
        subprocess.run([which("openssl"), *map(str, arguments)], check=True, capture_output=True)

    def pair(self, name="good"):
        """The paths of a certificate of KINDS and of its key."""
        with self.lock:
            return self.made(name, **KINDS[name])

    def made(self, name, hosts=("localhost",), days=(-30, 365), self_signed=False, authority="test"):
        """As `pair`, under the lock: valid from and until so many days from now, for `hosts`."""
        cert, key = self.root / f"{name}.pem", self.root / f"{name}.key"
        if cert.exists():
            return cert, key
        request = self.root / f"{name}.csr"
        names = ",".join([f"DNS:{host}" for host in hosts] + ([f"IP:{address}" for address in self.addresses] if "localhost" in hosts else []))
        new = ["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key,
               "-subj", f"/CN={hosts[0]}", "-addext", f"subjectAltName={names}"]
        if self_signed:
            self.openssl(*new, "-x509", "-days", days[1], "-addext", "basicConstraints=critical,CA:FALSE", "-out", cert)
        else:
            if not self.authority(authority).exists():
                self.make_authority(authority)
            self.openssl(*new, "-out", request)
            now = datetime.datetime.now(datetime.timezone.utc)
            start, end = ((now + datetime.timedelta(days=day)).strftime("%Y%m%d%H%M%SZ") for day in days)
            self.openssl(
                "ca", "-batch", "-config", self.root / "openssl.cnf", "-name", "test", "-notext",
                "-cert", self.authority(authority), "-keyfile", self.root / f"{authority}-ca.key",
                "-startdate", start, "-enddate", end, "-in", request, "-out", cert,
            )
        key.chmod(0o644)  # servers that run as another user read it; it protects nothing
        return cert, key
