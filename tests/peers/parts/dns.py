"""knot: zones good., bogus., expiring., open.good. and plain., the first three signed with keys of our own, and their anchors as a file.

`bogus.` is signed and then changed, as a careless edit or an attacker would; `expiring.` holds signatures for two more days;
`open.good.` is not signed, and `good.` proves that it need not be; nobody vouches for `plain.`.
"""

import os
import socket
import struct

import peer

ZONE = """$ORIGIN {name}.
$TTL 60
@ SOA ns.{name}. hostmaster.{name}. 1 3600 600 604800 60
@ NS ns
ns A 127.0.0.1
www A 192.0.2.10
www AAAA 2001:db8::10
@ MX 10 mail
mail A 192.0.2.20
@ TXT "v=spf1 -all"
"""
SIGNED = {"good": "30d", "bogus": "30d", "expiring": "2d"}
PLAIN = ("open.good", "plain")
DELEGATION = "open NS ns.open\nns.open A 127.0.0.1\n"


class Part(peer.Part):
    needs = ("knotd", "keymgr", "kzonesign", "knotc")
    version_command = ("knotd", "--version")

    def prepare(self):
        for name in (*SIGNED, *PLAIN):
            (self.home / f"{name}.zone").write_text(ZONE.format(name=name) + (DELEGATION if name == "good" else ""))
        (self.home / "storage").mkdir()
        self.configure(signing=True)
        anchors = []
        for name in SIGNED:
            self.run("keymgr", "-c", self.home / "knot.conf", f"{name}.", "generate", "ksk=yes", "zsk=yes", "algorithm=13")
            self.run("kzonesign", "-c", self.home / "knot.conf", "-o", self.home / "storage", f"{name}.")
            self.run("sh", "-c", f"mv {self.home}/storage/{name}.zone {self.home}/{name}.zone")
            anchors.append(self.run("keymgr", "-c", self.home / "knot.conf", f"{name}.", "dnskey"))
        self.break_zone("bogus")
        self.anchor = self.home / "anchors.key"
        self.anchor.write_text("".join(anchors))
        self.configure(signing=False)

    def configure(self, signing):
        """Writes knot.conf: with keys while we sign, without while it serves what was signed."""
        policies = "".join(
            f"  - id: {name}\n    manual: on\n    single-type-signing: on\n    rrsig-lifetime: {life}\n    rrsig-refresh: 1d\n"
            f"    reproducible-signing: on\n"
            for name, life in SIGNED.items()
        )
        zones = "".join(
            f"  - domain: {name}.\n    file: {self.home}/{name}.zone\n    zonefile-load: whole\n    journal-content: none\n"
            + (f"    dnssec-signing: on\n    dnssec-policy: {name}\n" if signing and name in SIGNED else "")
            for name in (*SIGNED, *PLAIN)
        )
        (self.home / "knot.conf").write_text(
            f"server:\n  listen: {peer.HOST}@{self.port}\n  rundir: {self.home}\n  pidfile: {self.home}/pid\n"
            "  udp-workers: 1\n  tcp-workers: 1\n  background-workers: 1\n"
            f"database:\n  storage: {self.home}/storage\n  kasp-db: {self.home}/storage/keys\n"
            "  journal-db-max-size: 8M\n  timer-db-max-size: 2M\n  kasp-db-max-size: 8M\n"
            f"control:\n  listen: {self.home}/control\n"
            + (f"policy:\n{policies}" if signing else "")
            + f"zone:\n{zones}"
        )

    def break_zone(self, name):
        """Changes an address after signing."""
        path = self.home / f"{name}.zone"
        text = path.read_text()
        changed = text.replace("192.0.2.10", "192.0.2.66")
        if changed == text:
            raise peer.Refused(f"{name} holds no address to change")
        path.write_text(changed)

    def command(self):
        return ["knotd", "-c", self.home / "knot.conf"]

    def ready(self):
        super().ready()
        query = struct.pack(">HHHHHH", 7, 0, 1, 0, 0, 0) + b"\x04good\x00" + struct.pack(">HH", 6, 1)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stream:
            stream.settimeout(1)
            stream.sendto(query, (peer.HOST, self.port))
            if stream.recv(512)[3] & 15:
                raise peer.Refused("it does not answer for good.")

    def info(self):
        return {"trust_anchor_file": str(self.anchor)}

    def do_spoil(self, name):
        """`spoil dns ZONE`: changes an address of a signed zone without signing it again."""
        path = self.home / f"{name}.zone"
        kept = path.with_suffix(".kept")
        if not kept.exists():
            kept.write_bytes(path.read_bytes())
        self.break_zone(name)
        self.do_restart()

    def do_heal(self, name):
        """`heal dns ZONE`: as it was signed."""
        os.replace(self.home / f"{name}.kept", self.home / f"{name}.zone")
        self.do_restart()
