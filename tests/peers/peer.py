"""What every real server of the tests has in common: a directory, a port, processes, a way to be broken."""

import ctypes
import os
import pathlib
import pwd
import secrets
import shutil
import signal
import socket
import ssl
import subprocess
import time

HOST = "127.0.0.1"
VENV = pathlib.Path(
    os.environ.get("DIHYA_PEERS_VENV")
    or pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "dihya-peers" / "venv"
)
PATH = os.pathsep.join(
    [os.environ.get("PATH", ""), "/usr/sbin", "/sbin", "/usr/lib/dovecot", "/usr/lib/nagios/plugins"]
    + sorted(str(path) for path in pathlib.Path("/usr/lib/postgresql").glob("*/bin"))
)
READY_SECONDS = 40


class Refused(Exception):
    """A command that cannot be carried out, with the reason for the test to print."""


def which(command):
    """Where a command is, or None."""
    return shutil.which(command, path=PATH)


def free_port(kind=socket.SOCK_STREAM):
    """A loopback port that was free a moment ago."""
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind((HOST, 0))
        return probe.getsockname()[1]


def token():
    """A password nobody else has, so that a test can search results for it."""
    return "pw-" + secrets.token_hex(8)


def die_with_parent():
    """Kernel's word that a server does not outlive `up`, however that ends (prctl PR_SET_PDEATHSIG)."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


class Cable:
    """A network namespace with one server in it, and a pair of interfaces between it and us."""

    def __init__(self, number):
        self.name = f"dihya-{os.getpid()}-{number}"
        self.near, self.far = (f"dp{os.getpid()}{end}{number}" for end in "nf")
        subnet = f"10.214.{os.getpid() % 256}"
        ours, self.host = f"{subnet}.{4 * number + 1}", f"{subnet}.{4 * number + 2}"
        try:
            ip("netns", "add", self.name)
            ip("link", "add", self.near, "type", "veth", "peer", "name", self.far, "netns", self.name)
            ip("address", "add", f"{ours}/30", "dev", self.near)
            ip("link", "set", self.near, "up")
            ip("-n", self.name, "address", "add", f"{self.host}/30", "dev", self.far)
            ip("-n", self.name, "link", "set", "lo", "up")
            self.link("up")
        except Refused:
            self.end()
            raise

    @staticmethod
    def missing():
        """Why there can be none here, or None."""
        for command in ("ip", "nsenter", "setpriv"):
            if not which(command):
                return f"no command {command} for a network namespace: run tests/peers/install"
        if os.geteuid() != 0:
            return "a network namespace needs root"
        name = f"dihya-{os.getpid()}-try"
        try:
            ip("netns", "add", name)
            ip("netns", "delete", name)
        except Refused as error:
            return f"the kernel makes no network namespace: {error}"
        return None

    def within(self, command, account):
        """The command line that runs a command in the namespace, as a user."""
        inside = [which("nsenter"), f"--net=/run/netns/{self.name}"]
        if account:  # a change of the user forgets whom to die with
            inside += [which("setpriv"), f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups", "--pdeathsig=KILL"]
        return [*inside, which(str(command[0])) or command[0], *command[1:]]

    def link(self, state):
        """Takes the far end down or up: ours keeps its route, so that nothing leaves by another way."""
        ip("-n", self.name, "link", "set", self.far, state)

    def end(self):
        """Removes the namespace; the interfaces go with it."""
        subprocess.run([which("ip"), "link", "delete", self.near], check=False, capture_output=True)
        subprocess.run([which("ip"), "netns", "delete", self.name], check=False, capture_output=True)


def ip(*arguments):
    """Runs `ip`, and fails with what the kernel said."""
    done = subprocess.run([which("ip"), *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Refused(f"ip {' '.join(arguments)}: {done.stderr.strip()}")


class Part:
    """One real server. A subclass says `needs`, `command()` and `info()`, and may prepare, break and mend itself."""

    needs = ()  # commands that must be there
    modules = ()  # Python modules that must be in the venv
    version_command = ()
    user = None  # the user to run as when we are root
    starttls = ()  # how `openssl s_client` comes to TLS on the port whose certificate is swapped

    def __init__(self, home, certs):
        self.home = home
        self.certs = certs
        self.port = free_port()
        self.process = None
        self.chain = None
        self.host = HOST
        self.cable = None

    def plugged_into(self, cable):
        """Has it live at the far end of a cable instead of on our loopback."""
        self.cable, self.host = cable, cable.host

    # What the subclass says.

    def prepare(self):
        """Writes configuration, creates data. Runs once, before the first start."""

    def command(self):
        """The command line of the server, which must stay in the foreground."""
        raise NotImplementedError

    def info(self):
        """What a test must know to talk to it."""
        return {}

    def ports(self):
        """Every port it listens on."""
        return [self.port]

    def ready(self):
        """Raises while it does not serve yet."""
        for port in self.ports():
            socket.create_connection((self.host, port), timeout=1).close()

    # What is found on this machine.

    @classmethod
    def missing(cls):
        """Why it cannot run here, or None."""
        for command in cls.needs:
            if not which(command):
                return f"no command {command}: run tests/peers/install"
        for module in cls.modules:
            if not list(VENV.glob(f"lib/python*/site-packages/{module}")):
                return f"no Python module {module}: run tests/peers/install"
        return None

    @classmethod
    def version(cls):
        """Its version, on one line."""
        command = [which(cls.version_command[0]), *cls.version_command[1:]]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        return next((line.strip() for line in done.stdout.splitlines() if line.strip()), "unknown")

    # Life.

    def up(self):
        """Prepares and starts it, and says what a test must know."""
        self.prepare()
        self.do_start()
        return {"host": self.host, "port": self.port, "ca": str(self.certs.ca), **self.info()}

    def account(self):
        """The user it runs as: its own where we are root, else ours."""
        return pwd.getpwnam(self.user) if self.user and os.geteuid() == 0 else None

    def own(self, path):
        """Gives `path` and what is in it to the user it runs as."""
        account = self.account()
        if account:
            for each in [path, *path.rglob("*")]:
                os.chown(each, account.pw_uid, account.pw_gid)

    def run(self, *command, **options):
        """Runs a command to its end as the part's user, and fails with its output."""
        account = self.account()
        if account:
            options |= {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
        done = subprocess.run(
            [which(command[0]) or command[0], *map(str, command[1:])],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=self.home, check=False, **options,
        )
        if done.returncode:
            raise Refused(f"{command[0]} ended with {done.returncode}: {done.stdout[-2000:]}")
        return done.stdout

    def spawn(self, command):
        """Starts a process that ends with us, its output in the part's directory."""
        account = self.account()
        options = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []} if account else {}
        if self.cable:
            command, options = self.cable.within(command, account), {}
        with open(self.home / "output.log", "ab") as log:
            return subprocess.Popen(
                [which(str(command[0])) or command[0], *map(str, command[1:])],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.home, start_new_session=True,
                env={**os.environ, "PATH": PATH}, preexec_fn=die_with_parent, **options,
            )

    def wait_ready(self):
        """Waits until it serves; says why with its own words where it does not."""
        end = time.monotonic() + READY_SECONDS
        while True:
            try:
                return self.ready()
            except Exception as error:  # whatever a server does while it starts
                if self.process.poll() is not None or time.monotonic() > end:
                    output = (self.home / "output.log").read_text(errors="replace")[-2000:]
                    raise Refused(f"{type(self).__module__} does not start: {error}: {output}") from error
                time.sleep(0.02)

    def do_start(self):
        """Starts it and waits until it serves."""
        if self.process is None:
            self.process = self.spawn(self.command())
            self.wait_ready()

    def do_stop(self):
        """Stops it; the port refuses from then on."""
        process, self.process = self.process, None
        if process is None:
            return
        for sign in (signal.SIGCONT, self.stop_signal):
            self.signal(process, sign)
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            pass
        self.signal(process, signal.SIGKILL)  # and whatever it left behind in its session
        process.wait()
        for port in self.ports():  # a child that is dying may hold the port a moment longer
            self.wait_refused(port)

    def wait_refused(self, port):
        """Waits until nothing listens on a port."""
        end = time.monotonic() + READY_SECONDS
        while time.monotonic() < end:
            try:
                socket.create_connection((self.host, port), timeout=1).close()
            except ConnectionRefusedError:
                return
            except OSError:
                pass
            time.sleep(0.01)
        raise Refused(f"something still listens on port {port}")

    stop_signal = signal.SIGTERM

    @staticmethod
    def signal(process, sign):
        """Signals the whole process group."""
        try:
            os.killpg(process.pid, sign)
        except ProcessLookupError:
            pass

    def do_restart(self):
        """Stops and starts it on the same port."""
        self.do_stop()
        self.do_start()

    def served(self):
        """The paths of the certificate and the key that it serves, which are its own and change with `swap-cert`."""
        cert, key = self.home / "served.pem", self.home / "served.key"
        if not cert.exists():
            self.serve("good")
        return cert, key

    def serve(self, name):
        """Puts another certificate where `served` says; the server sees it when it looks again."""
        for source, target in zip(self.certs.pair(name), ("served.pem", "served.key")):
            new = self.home / f"{target}.new"
            new.write_bytes(source.read_bytes())
            new.chmod(0o600)
            self.own(new)
            os.rename(new, self.home / target)

    def tls_ports(self):
        """The ports on which `served` is served."""
        return [getattr(self, "tls_port", self.port)]

    def reload(self):
        """Makes it look at its certificate again, as a renewal's hook would."""
        self.process.send_signal(signal.SIGHUP)  # not to its children, whom it tells itself

    def do_swap_cert(self, name):
        """`swap-cert NAME CERTIFICATE`: it serves another of certs.KINDS from now on, without a restart."""
        self.served()
        self.serve(name)
        self.reload()
        for port in self.tls_ports():
            self.wait_served(port, (self.home / "served.pem").read_text())

    def wait_served(self, port, cert):
        """Waits until the certificate is seen on a port."""
        wanted = ssl.PEM_cert_to_DER_cert(cert)
        end = time.monotonic() + READY_SECONDS
        while time.monotonic() < end:
            done = subprocess.run(
                [which("openssl"), "s_client", "-connect", f"{self.host}:{port}", "-servername", "localhost", *self.starttls],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, timeout=10, check=False,
            )
            begin, finish = done.stdout.find(ssl.PEM_HEADER), done.stdout.find(ssl.PEM_FOOTER)
            if begin >= 0 and ssl.PEM_cert_to_DER_cert(done.stdout[begin : finish + len(ssl.PEM_FOOTER)]) == wanted:
                return
            time.sleep(0.02)
        raise Refused(f"port {port} still serves another certificate")

    def do_freeze(self):
        """Leaves it in memory and on its port, and runs it no more."""
        self.signal(self.process, signal.SIGSTOP)

    def do_thaw(self):
        """Lets it run again."""
        self.signal(self.process, signal.SIGCONT)

    def do_cut(self):
        """Drops every packet to its ports, as an unplugged cable would; says `skipped` where that is not allowed."""
        if os.geteuid() != 0 or not which("nft"):
            return {"skipped": "cutting the network needs root and nft"}
        self.chain = f"dihya_peers_{os.getpid()}_{self.port}"
        ports = ", ".join(str(port) for port in self.ports())
        drops = "\n".join(f'iif "lo" {what} {{ {ports} }} drop' for what in ("tcp dport", "tcp sport", "udp dport", "udp sport"))
        rules = f"table inet {self.chain} {{\nchain in {{\ntype filter hook input priority 0;\n{drops}\n}}\n}}\n"
        done = subprocess.run([which("nft"), "-f", "-"], input=rules, text=True, check=False, capture_output=True)
        if done.returncode:
            self.chain = None
            return {"skipped": f"the kernel takes no rule: {done.stderr.strip()[:200]}"}
        return {}

    def do_mend(self):
        """Plugs the cable back in."""
        if self.chain:
            subprocess.run([which("nft"), "delete", "table", "inet", self.chain], check=True, capture_output=True)
            self.chain = None

    def do_unplug(self):
        """Takes the link of its network namespace down."""
        self.cable.link("down")

    def do_plug(self):
        """Takes the link up again."""
        self.cable.link("up")

    def end(self):
        """Stops it whatever state it is in."""
        try:
            self.do_mend()
            if self.cable:
                self.cable.link("up")  # so that its port is seen to refuse
        finally:
            try:
                self.do_stop()
            finally:
                if self.cable:
                    self.cable.end()
