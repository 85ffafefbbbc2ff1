"""PostgreSQL: TLS on, SCRAM passwords, one user with the old md5 and one with a cleartext password."""

import peer


class Part(peer.Part):
    needs = ("initdb", "postgres", "psql")
    version_command = ("postgres", "--version")
    user = "postgres"  # it refuses root
    starttls = ("-starttls", "postgres")

    def prepare(self):
        self.password = peer.token()
        self.data = self.home / "data"
        self.own(self.home)
        self.run("initdb", "-D", self.data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
        cert, key = self.served()
        (self.data / "postgresql.conf").write_text(
            f"listen_addresses = '{self.host}'\nport = {self.port}\nunix_socket_directories = '{self.home}'\n"
            f"ssl = on\nssl_cert_file = '{cert}'\nssl_key_file = '{key}'\n"
            "fsync = off\nshared_buffers = 16MB\nmax_connections = 20\nlogging_collector = off\n"
        )
        (self.data / "pg_hba.conf").write_text(
            "local all postgres trust\n"
            "host all old_user samenet md5\n"
            "host all clear_user samenet password\n"
            "hostssl all tls_user samenet scram-sha-256\n"
            "host all all samenet scram-sha-256\n"
        )
        self.own(self.data)

    def command(self):
        return ["postgres", "-D", self.data]

    stop_signal = 2  # SIGINT: fast shutdown

    def sql(self, text):
        """Runs SQL as the superuser."""
        return self.run("psql", "-qAtX", "-v", "ON_ERROR_STOP=1", "-h", self.home, "-p", self.port, "-U", "postgres", "-c", text)

    def ready(self):
        self.sql("SELECT 1")

    def do_start(self):
        super().do_start()
        if not self.sql("SELECT 1 FROM pg_roles WHERE rolname = 'dihya'"):
            for each in (
                f"CREATE ROLE dihya LOGIN PASSWORD '{self.password}'",
                f"CREATE ROLE tls_user LOGIN PASSWORD '{self.password}'",
                f"CREATE ROLE clear_user LOGIN PASSWORD '{self.password}'",
                f"SET password_encryption = 'md5'; CREATE ROLE old_user LOGIN PASSWORD '{self.password}'",
                "CREATE DATABASE clinic OWNER dihya",
            ):
                self.sql(each)

    def info(self):
        return {"user": "dihya", "password": self.password, "database": "clinic", "log": str(self.home / "output.log")}

    def do_talk(self, count, who):
        """`talk postgres COUNT WHO`: it logs so many statements about somebody, logins, and logins that are refused."""
        for setting in ("log_statement = 'all'", "log_connections = on", "log_disconnections = on"):
            self.sql(f"ALTER SYSTEM SET {setting}")
        self.sql("SELECT pg_reload_conf()")
        while self.sql("SHOW log_statement").strip() != "all":
            pass
        url = f"host={self.host} port={self.port} user=dihya dbname=clinic password="
        statements = self.home / "statements.sql"
        statements.write_text("".join(f"SELECT {n} AS n, '{who}' AS patient;\n" for n in range(int(count))))
        self.own(self.home)
        self.run("psql", "-qAtX", "-v", "ON_ERROR_STOP=1", "-f", statements, url + self.password)
        for _ in range(5):
            try:
                self.run("psql", "-qAtX", "-c", "SELECT 1", url + "wrong")
            except peer.Refused:
                continue
            raise peer.Refused("a wrong password was taken")

    def do_readonly(self, switch):
        """`readonly postgres on|off`: every new session may only read."""
        self.sql(f"ALTER SYSTEM SET default_transaction_read_only = {switch}")
        self.sql("SELECT pg_reload_conf()")
        while self.sql("SHOW default_transaction_read_only").strip() != switch:
            pass

    def do_lock_out(self, switch):
        """`lock-out postgres on|off`: the password is another one."""
        password = peer.token() if switch == "on" else self.password
        self.sql(f"ALTER ROLE dihya PASSWORD '{password}'")
