"""MariaDB: TLS on, a user with mysql_native_password."""

import os
import pwd

import peer


class Part(peer.Part):
    needs = ("mariadbd", "mariadb", "mariadb-install-db")
    version_command = ("mariadbd", "--version")
    starttls = ("-starttls", "mysql")

    def prepare(self):
        self.password = peer.token()
        self.data = self.home / "data"
        self.socket = self.home / "sock"
        user = pwd.getpwuid(os.geteuid()).pw_name
        cert, key = self.served()
        # Not the machine's: two that are made at once name their temporary tables alike, and delete each other's.
        temporary = self.home / "tmp"
        temporary.mkdir(exist_ok=True)
        config = self.home / "my.cnf"
        config.write_text(
            f"[mariadbd]\ndatadir={self.data}\ntmpdir={temporary}\nsocket={self.socket}\nport={self.port}\n"
            f"bind-address={self.host}\nuser={user}\n"
            f"pid-file={self.home}/pid\nssl-cert={cert}\nssl-key={key}\nssl-ca={self.certs.ca}\nskip-name-resolve\n"
            "innodb-buffer-pool-size=16M\ninnodb-log-file-size=4M\ninnodb-flush-log-at-trx-commit=0\n"
            "performance-schema=off\nmax-connections=20\nmax-connect-errors=1000000\n"
        )
        self.config = config
        self.run(
            "mariadb-install-db", f"--defaults-file={config}", "--auth-root-authentication-method=normal",
            "--skip-test-db", f"--user={user}", "--skip-name-resolve",
        )

    def command(self):
        return ["mariadbd", f"--defaults-file={self.config}"]

    def sql(self, text):
        """Runs SQL as root over the socket."""
        return self.run("mariadb", "--no-defaults", "-N", "-B", "-S", self.socket, "-u", "root", "-e", text)

    def ready(self):
        super().ready()
        self.sql("SELECT 1")

    def do_start(self):
        super().do_start()
        self.sql(
            "CREATE DATABASE IF NOT EXISTS clinic;"
            f"CREATE USER IF NOT EXISTS dihya@'%' IDENTIFIED BY '{self.password}';"
            f"CREATE USER IF NOT EXISTS tls_user@'%' IDENTIFIED BY '{self.password}' REQUIRE SSL;"
            "GRANT ALL ON clinic.* TO dihya@'%'; GRANT SELECT ON clinic.* TO tls_user@'%';"
        )

    def info(self):
        return {"user": "dihya", "password": self.password, "database": "clinic"}

    def reload(self):
        self.sql("FLUSH SSL")

    def do_readonly(self, switch):
        """`readonly mariadb on|off`."""
        self.sql(f"SET GLOBAL read_only = {switch}")

    def do_lock_out(self, switch):
        """`lock-out mariadb on|off`: the password is another one."""
        password = peer.token() if switch == "on" else self.password
        self.sql(f"ALTER USER dihya@'%' IDENTIFIED BY '{password}'")
