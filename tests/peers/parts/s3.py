"""S3: moto's server with one bucket, signatures and permissions checked as IAM would."""

import json
import re
import urllib.parse
import urllib.request

import peer

FULL = ["s3:*"]
READ = ["s3:Get*", "s3:List*"]


class Part(peer.Part):
    modules = ("moto", "flask")

    @classmethod
    def version(cls):
        return "moto " + next(peer.VENV.glob("lib/python*/site-packages/moto-*")).name.split("-")[1].removesuffix(".dist")

    def command(self):
        return [peer.VENV / "bin" / "moto_server", "-H", peer.HOST, "-p", self.port]

    def call(self, path, method, body=b"", service="s3"):
        """Asks the server; moto routes by the service that the credential names."""
        headers = {"Content-Type": "application/x-www-form-urlencoded" if service == "iam" else "text/plain"}
        if service:
            headers["Authorization"] = f"AWS4-HMAC-SHA256 Credential=test/20200101/us-east-1/{service}/aws4_request"
        request = urllib.request.Request(f"http://{peer.HOST}:{self.port}{path}", data=body, method=method, headers=headers)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.read().decode()

    def iam(self, **form):
        """Asks the identity service."""
        return self.call("/", "POST", urllib.parse.urlencode({"Version": "2010-05-08", **form}).encode(), "iam")

    def unlocked(self, doing):
        """Does something that needs no signature, and checks signatures again from then on."""
        self.call("/moto-api/reset-auth", "POST", b"1000000", None)
        try:
            return doing()
        finally:
            self.call("/moto-api/reset-auth", "POST", b"0", None)

    def allow(self, actions):
        """Gives the user these actions and no others."""
        policy = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": actions, "Resource": "*"}]}
        self.iam(Action="PutUserPolicy", UserName="dihya", PolicyName="bucket", PolicyDocument=json.dumps(policy))

    def do_start(self):
        super().do_start()
        self.unlocked(self.furnish)
        return self.info()  # what it knew ended with its process, the access key too

    def furnish(self):
        """Makes the bucket, the user and the access key; the memory of moto ends with its process."""
        self.call("/backups", "PUT")
        self.iam(Action="CreateUser", UserName="dihya")
        self.allow(FULL)
        key = self.iam(Action="CreateAccessKey", UserName="dihya")
        self.access_key = re.search("<AccessKeyId>(.*?)</AccessKeyId>", key)[1]
        self.secret_key = re.search("<SecretAccessKey>(.*?)</SecretAccessKey>", key)[1]

    def info(self):
        return {
            "bucket": "backups", "region": "us-east-1", "access_key": self.access_key, "secret_key": self.secret_key,
        }

    def do_readonly(self, switch):
        """`readonly s3 on|off`: the access key may only read."""
        self.unlocked(lambda: self.allow(READ if switch == "on" else FULL))

    def do_leave(self, check):
        """`leave s3 CHECK`: an object such as a run of CHECK that was cut short left behind long ago."""
        self.unlocked(lambda: self.call(f"/backups/dihya-check/{check}/1000000000-00ff", "PUT", b"left"))
