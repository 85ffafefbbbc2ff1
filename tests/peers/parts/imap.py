"""IMAP: dovecot with STARTTLS, TLS on a second port, and one mailbox."""

import grp
import imaplib
import os
import pwd
import ssl
import time

import peer


class Part(peer.Part):
    needs = ("dovecot",)
    version_command = ("dovecot", "--version")
    starttls = ("-starttls", "imap")

    def prepare(self):
        self.password = peer.token()
        self.tls_port = peer.free_port()
        # Login processes run as this user, the mailbox belongs to that one; dovecot refuses root for both.
        account = pwd.getpwnam("nobody") if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())
        group = grp.getgrgid(account.pw_gid).gr_name
        cert, key = self.served()
        mail = self.home / "mail"
        mail.mkdir()
        os.chown(mail, account.pw_uid, account.pw_gid)
        (self.home / "users").write_text(f"dihya:{{PLAIN}}{self.password}:{account.pw_uid}:{account.pw_gid}::{mail}::\n")
        (self.home / "users").chmod(0o644)
        (self.home / "dovecot.conf").write_text(
            f"""
protocols = imap
listen = {self.host}
base_dir = {self.home}/run
state_dir = {self.home}/state
log_path = {self.home}/dovecot.log
default_login_user = {account.pw_name}
default_internal_user = {account.pw_name}
default_internal_group = {group}
first_valid_uid = 1
ssl = yes
ssl_cert = <{cert}
ssl_key = <{key}
ssl_dh =
disable_plaintext_auth = yes
mail_location = maildir:{mail}
auth_mechanisms = plain
auth_failure_delay = 0
passdb {{
  driver = passwd-file
  args = {self.home}/users
}}
userdb {{
  driver = passwd-file
  args = {self.home}/users
}}
service imap-login {{
  chroot =
  inet_listener imap {{
    port = {self.port}
  }}
  inet_listener imaps {{
    port = {self.tls_port}
    ssl = yes
  }}
}}
service anvil {{
  chroot =
  # Else a wrong password makes whoever comes from the same address wait, for seconds.
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
service stats {{
  unix_listener stats-writer {{
    mode = 0666
  }}
}}
"""
        )

    def command(self):
        return ["dovecot", "-F", "-c", self.home / "dovecot.conf"]

    def ports(self):
        return [self.port, self.tls_port]

    def ready(self):
        with imaplib.IMAP4(self.host, self.port, timeout=5) as client:
            client.noop()

    def info(self):
        return {"tls_port": self.tls_port, "user": "dihya", "password": self.password}

    def tls_ports(self):
        return [self.port]

    def do_lock_out(self, switch):
        """`lock-out imap on|off`: the password is another one."""
        users = self.home / "users"
        now = users.read_text()
        password = peer.token() if switch == "on" else self.password
        fields = now.split(":")
        fields[1] = "{PLAIN}" + password
        users.write_text(":".join(fields))
        self.reload()  # by itself dovecot looks at the file once a second
        end = time.monotonic() + peer.READY_SECONDS
        while self.admits() != (switch == "off"):
            if time.monotonic() > end:
                raise peer.Refused("it does not take the passwords over")
            time.sleep(0.02)

    def admits(self):
        """Whether the password is the right one."""
        context = ssl.create_default_context(cafile=self.certs.ca)
        try:
            with imaplib.IMAP4_SSL("localhost", self.tls_port, ssl_context=context, timeout=5) as client:
                client.login("dihya", self.password)
                return True
        except (imaplib.IMAP4.error, OSError) as error:
            return None if "AUTHENTICATIONFAILED" not in str(error) else False
