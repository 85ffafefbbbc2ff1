"""OpenSSH's sshd with a host key of each kind, of which the Ed25519 one can be swapped."""

import concurrent.futures
import os
import pathlib
import pwd
import subprocess

import peer


class Part(peer.Part):
    needs = ("sshd", "ssh-keygen")
    version_command = ("ssh", "-V")

    def prepare(self):
        if os.geteuid() == 0:
            pathlib.Path("/run/sshd").mkdir(exist_ok=True)  # where it wants to be locked in
        self.new_key()
        self.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", self.home / "user_key")
        for kind in ("ecdsa", "rsa"):
            self.run("ssh-keygen", "-q", "-t", kind, "-N", "", "-C", "", "-f", self.home / kind)
        (self.home / "sshd_config").write_text(
            f"ListenAddress {peer.HOST}:{self.port}\nHostKey {self.home}/host_key\nHostKey {self.home}/ecdsa\n"
            f"HostKey {self.home}/rsa\nPidFile {self.home}/pid\nUsePAM no\n"
            "PasswordAuthentication no\nStrictModes no\nMaxStartups 100\n"
            f"AuthorizedKeysFile {self.home}/user_key.pub\nPermitRootLogin yes\n"
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
        return {"fingerprint": self.fingerprint(), "log": str(self.home / "output.log")}

    def do_talk(self, count, who):
        """`talk ssh COUNT WHO`: it logs so many logins of ours, and as many of somebody whom it does not know."""
        options = ["BatchMode=yes", "StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR"]
        options = [part for option in options for part in ("-o", option)]
        key = ["-F", "none", "-i", self.home / "user_key", "-p", self.port]

        def login(user):
            command = ["ssh", *options, *map(str, key), "-l", user, peer.HOST, "true"]
            return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False).returncode

        users = [pwd.getpwuid(os.geteuid()).pw_name, who] * int(count)
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            codes = list(pool.map(login, users))
        if any(codes[::2]) or not all(codes[1::2]):
            raise peer.Refused(f"logins ended with {codes}")

    def do_swap_key(self):
        """`swap-key ssh`: another host key, as after a takeover."""
        self.new_key()
        self.do_restart()
        return {"fingerprint": self.fingerprint()}
