"""OpenSSH's sshd with a host key of each kind, of which the Ed25519 one can be swapped."""

import os
import pathlib

import peer


class Part(peer.Part):
    needs = ("sshd", "ssh-keygen")
    version_command = ("ssh", "-V")

    def prepare(self):
        if os.geteuid() == 0:
            pathlib.Path("/run/sshd").mkdir(exist_ok=True)  # where it wants to be locked in
        self.new_key()
        for kind in ("ecdsa", "rsa"):
            self.run("ssh-keygen", "-q", "-t", kind, "-N", "", "-C", "", "-f", self.home / kind)
        (self.home / "sshd_config").write_text(
            f"ListenAddress {peer.HOST}:{self.port}\nHostKey {self.home}/host_key\nHostKey {self.home}/ecdsa\n"
            f"HostKey {self.home}/rsa\nPidFile {self.home}/pid\nUsePAM no\n"
            "PasswordAuthentication no\nStrictModes no\nMaxStartups 100\n"
        )

    def new_key(self):
        """Makes a host key."""
        for name in ("host_key", "host_key.pub"):
            (self.home / name).unlink(missing_ok=True)
        self.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", self.home / "host_key")

    def fingerprint(self):
        """SHA256:... as ssh-keygen prints it."""
        return self.run("ssh-keygen", "-l", "-f", self.home / "host_key.pub").split()[1]

    def command(self):
        return [peer.which("sshd"), "-D", "-e", "-f", self.home / "sshd_config"]

    def info(self):
        return {"fingerprint": self.fingerprint()}

    def do_swap_key(self):
        """`swap-key ssh`: another host key, as after a takeover."""
        self.new_key()
        self.do_restart()
        return {"fingerprint": self.fingerprint()}
