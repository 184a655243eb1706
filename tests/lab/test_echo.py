"""The echo service and its client, on loopback: no root, no namespaces."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from websockets.sync.client import connect

from egress_compiler.lab import LabError, ProbeTarget
from egress_compiler.lab.probe import arguments, client, collect
from egress_compiler.lab.run import start

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def ports() -> Iterator[dict[str, int]]:
    """The ports of a server on both loopback addresses."""
    argv = [sys.executable, "-m", "egress_compiler.lab.echo", "--bind", "127.0.0.1", "--bind", "::1"]
    argv += ["--tcp-port", "0", "--udp-port", "0", "--http-port", "0"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())
        process.terminate()
        assert process.wait(5) == 0


def run_client(*words: str) -> list[dict[str, object]]:
    done = subprocess.run(client(*words), capture_output=True, text=True, check=True, timeout=30)
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_every_protocol_tells_the_source_address(ports: dict[str, int]) -> None:
    ports = {**ports, "ws": ports["http"]}
    targets = [f"{p},{ip},{ports[p]}" for ip in ("127.0.0.1", "::1") for p in ("tcp", "udp", "http", "ws")]
    answers = run_client("probe", *targets)
    assert [a["seen"] for a in answers] == ["127.0.0.1"] * 4 + ["::1"] * 4
    assert all(isinstance(a["port"], int) for a in answers)


def test_errors_have_names_and_come_in_time(ports: dict[str, int]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf, socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        silent, closed = deaf.getsockname()[1], bound.getsockname()[1]
        started = time.monotonic()
        answers = run_client(
            "probe",
            "--timeout",
            "0.5",
            *(f"{protocol},127.0.0.1,{silent}" for protocol in ("tcp", "http", "ws")),
            f"tcp,127.0.0.1,{closed}",
            f"udp,127.0.0.1,{closed}",
            f"tcp,127.0.0.1,{ports['tcp']}",
        )
        assert time.monotonic() - started < 3
    assert [a.get("error") for a in answers] == ["timeout", "timeout", "timeout", "refused", "refused", None]


def test_tcp_echoes_lines_and_speaks_by_itself_when_asked(ports: dict[str, int]) -> None:
    with socket.create_connection(("127.0.0.1", ports["tcp"]), timeout=5) as connection, connection.makefile() as lines:
        ip, port = connection.getsockname()
        assert lines.readline() == f"{ip} {port}\n"
        for text in ("one\n", "two\n"):
            connection.sendall(text.encode())
            assert lines.readline() == text
        connection.sendall(b"every 10\n")
        assert [lines.readline() for _ in range(3)] == ["tick 0\n", "tick 1\n", "tick 2\n"]


def test_websocket_echoes_messages(ports: dict[str, int]) -> None:
    with connect(f"ws://[::1]:{ports['http']}/ws") as connection:
        assert json.loads(connection.recv())["ip"] == "::1"
        connection.send("hello")
        assert connection.recv() == "hello"


def test_other_http_paths_answer_json(ports: dict[str, int]) -> None:
    with socket.create_connection(("127.0.0.1", ports["http"]), timeout=5) as connection:
        connection.sendall(b"GET /any?x=1 HTTP/1.1\r\nHost: here\r\n\r\n")
        with connection.makefile() as answer:
            head, _, body = answer.read().partition("\n\n")
    assert head.startswith("HTTP/1.1 200 OK")
    assert json.loads(body)["ip"] == "127.0.0.1"


def test_udp_answers_from_the_address_that_was_asked() -> None:
    argv = [sys.executable, "-m", "egress_compiler.lab.echo", "--tcp-port", "0", "--udp-port", "0", "--http-port", "0"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, cwd=ROOT) as server:
        assert server.stdout is not None
        port = json.loads(server.stdout.readline())["udp"]
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            udp.settimeout(5)
            udp.sendto(b"x", ("127.0.0.77", port))
            data, peer = udp.recvfrom(100)
        server.terminate()
    assert peer[0] == "127.0.0.77"
    assert data == f"127.0.0.1 {udp_port(data)} x".encode()


def udp_port(data: bytes) -> int:
    return int(data.split()[1])


def test_an_address_that_cannot_be_bound_is_an_error() -> None:
    argv = [sys.executable, "-m", "egress_compiler.lab.echo", "--bind", "192.0.2.1"]
    done = subprocess.run(argv, capture_output=True, text=True, cwd=ROOT, timeout=30, check=False)
    assert done.returncode == 1
    assert "192.0.2.1" in done.stderr


@pytest.mark.parametrize("arguments", [("udp",), ("tcp",), ("tcp", "--push")])
def test_the_meter_counts_answers_and_gaps(ports: dict[str, int], arguments: tuple[str, ...]) -> None:
    protocol, *push = arguments
    target = f"{protocol},127.0.0.1,{ports[protocol]}"
    started, result = run_client("meter", target, "--seconds", "0.5", "--interval", "5", *push)
    assert started == {"started": True}
    answered, gap = result["answered"], result["longest_gap_ms"]
    assert isinstance(answered, int)
    assert isinstance(gap, float)
    assert answered > 10
    assert 0 < gap < 400
    assert result["seen"] == ["127.0.0.1"]
    assert result["error"] is None


def test_the_meter_sees_a_server_that_stops_and_goes_on(ports: dict[str, int]) -> None:
    argv = [sys.executable, "-m", "egress_compiler.lab.echo", "--bind", "127.0.0.1"]
    argv += ["--tcp-port", "0", "--udp-port", "0", "--http-port", "0"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, cwd=ROOT) as server:
        assert server.stdout is not None
        port = json.loads(server.stdout.readline())["tcp"]
        words = ("meter", f"tcp,127.0.0.1,{port}", "--seconds", "20", "--interval", "5")
        with subprocess.Popen(client(*words), stdout=subprocess.PIPE, text=True) as meter:
            assert meter.stdout is not None
            meter.stdout.readline()
            server.send_signal(signal.SIGSTOP)
            time.sleep(0.5)
            server.send_signal(signal.SIGCONT)
            time.sleep(0.3)
            server.terminate()
            result = json.loads(meter.stdout.readline())
    assert 450 < result["longest_gap_ms"] < 3000
    assert result["error"] == "reset"


def test_results_come_in_the_order_of_the_targets(ports: dict[str, int]) -> None:
    targets = [ProbeTarget("udp", "::1", ports["udp"]), ProbeTarget("tcp", "127.0.0.1", ports["tcp"])]
    process = start(client(*arguments(targets, 2)), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    results = collect(process, targets, 2)
    assert [(r.target, r.seen) for r in results] == [(targets[0], "::1"), (targets[1], "127.0.0.1")]


def test_unknown_protocols_are_refused_and_default_ports_known() -> None:
    with pytest.raises(LabError, match="no protocol 'sctp'"):
        ProbeTarget("sctp", "192.0.2.1")  # type: ignore[arg-type]  # wrong on purpose
    assert str(ProbeTarget("ws", "2001:db8::1")) == "ws,2001:db8::1,7080"


def test_the_client_starts_at_once() -> None:
    started = time.monotonic()
    subprocess.run(client("probe"), check=True, env={**os.environ}, timeout=10)
    assert time.monotonic() - started < 1
