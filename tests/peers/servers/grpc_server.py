"""A gRPC health server: PORT TLS_PORT CERT KEY STATUS_FILE. A status written into the file is taken over at once."""

import concurrent.futures
import pathlib
import sys
import time

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

PORT, TLS_PORT, CERT, KEY, STATUS = sys.argv[1:6]

server = grpc.server(concurrent.futures.ThreadPoolExecutor(max_workers=4))
servicer = health.HealthServicer()
health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
for service in ("", "clinic"):
    servicer.set(service, health_pb2.HealthCheckResponse.SERVING)
pair = [(pathlib.Path(KEY).read_bytes(), pathlib.Path(CERT).read_bytes())]
if not server.add_insecure_port(f"127.0.0.1:{PORT}"):
    sys.exit("the port is taken")
if not server.add_secure_port(f"127.0.0.1:{TLS_PORT}", grpc.ssl_server_credentials(pair)):
    sys.exit("the TLS port is taken")
server.start()
status = pathlib.Path(STATUS)
while True:
    time.sleep(0.02)
    if status.exists():
        servicer.set("clinic", getattr(health_pb2.HealthCheckResponse, status.read_text().strip()))
        status.unlink()
        status.with_suffix(".done").touch()
