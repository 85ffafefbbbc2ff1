"""nginx: an HTTPS port for each way in which a certificate can be wrong, and a plain HTTP one."""

import pathlib
import time

import certs
import peer

VHOSTS = [name for name in certs.KINDS if name not in ("stranger", "forged")]


class Part(peer.Part):
    needs = ("nginx",)
    version_command = ("nginx", "-v")

    def prepare(self):
        self.tls = {name: peer.free_port() for name in VHOSTS}
        self.vhosts = {name: name for name in VHOSTS}
        (self.home / "www").mkdir()
        (self.home / "www" / "index.html").write_text("<title>portal</title>it works\n")
        (self.home / "www" / "health.json").write_text('{"status": "up", "queue": 3}\n')
        self.configure()

    def configure(self):
        """Writes nginx.conf for the certificates as they are served now."""
        common = f"root {self.home}/www; location /fail {{ return 503; }} location /away {{ return 302 /; }}"
        servers = [f"server {{ listen {self.host}:{self.port}; {common} }}"]
        for name, port in self.tls.items():
            cert, key = self.certs.pair(self.vhosts[name])
            servers.append(
                f"server {{ listen {self.host}:{port} ssl; ssl_certificate {cert}; ssl_certificate_key {key}; {common} }}"
            )
        (self.home / "nginx.conf").write_text(
            f"daemon off; worker_processes 1; pid {self.home}/pid; error_log {self.home}/error.log;\n"
            "events { worker_connections 1024; }\n"
            f"http {{ access_log {self.home}/access.log; types {{ text/html html; application/json json; }} "
            + " ".join(f"{kind}_temp_path {self.home}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
            + "\n" + "\n".join(servers) + "\n}\n"
        )

    def command(self):
        return ["nginx", "-p", self.home, "-c", self.home / "nginx.conf", "-e", self.home / "error.log"]

    def ports(self):
        return [self.port, *self.tls.values()]

    def info(self):
        return {"tls": self.tls, "root": str(self.home / "www"), "log": str(self.home / "access.log")}

    def do_swap_cert(self, which, vhost="good"):
        """`swap-cert nginx CERTIFICATE [VHOST]`: the vhost serves another certificate, as after a bad renewal."""
        if vhost not in VHOSTS:
            raise peer.Refused(f"vhosts are {', '.join(VHOSTS)}")
        self.vhosts[vhost] = which
        self.configure()
        before = self.workers()
        self.reload()
        self.wait_served(self.tls[vhost], self.certs.pair(which)[0].read_text())
        while before & self.workers():  # until it is gone the old worker takes connections too
            time.sleep(0.005)

    def workers(self):
        """The processes of which each serves by the configuration that it began with."""
        pid = self.process.pid
        return set(pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
