"""The ports of the echo service, the same in every lab."""

TCP_PORT = 7001
UDP_PORT = 7002
HTTP_PORT = 7080
"""HTTP on every path but WEBSOCKET_PATH."""
WEBSOCKET_PATH = "/ws"
