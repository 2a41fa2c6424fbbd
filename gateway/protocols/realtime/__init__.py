"""`WS /v1/realtime`: the OpenAI Realtime protocol (GA).

`incoming` reads what clients send, `effective` keeps a session's configuration, `outgoing` writes
what they are shown, `connection` ties the three to a session.
"""

from gateway.protocols.realtime.connection import serve

__all__ = ["serve"]
