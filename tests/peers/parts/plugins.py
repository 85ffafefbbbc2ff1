"""monitoring-plugins: no server, the commands check_http, check_disk and the like, for `exec` checks."""

import os

import peer


class Part(peer.Part):
    needs = ("check_http", "check_disk", "check_dummy")
    version_command = ("check_http", "--version")

    def up(self):
        return {"dir": os.path.dirname(peer.which("check_http"))}

    def end(self):
        """Nothing runs."""
