"""Throws malformed frames at a running gateway, beside a session that behaves.

`grammar` makes the protocol's events from the types of the `openai` package, `spoiling` makes them
wrong, `frames` mixes both; `wire` breaks what is below: HTTP, the handshake, WebSocket frames.
`verdict` says what a frame must be answered, `thrower` throws and asks it. `target` is the system
under fire, `neighbours` talk beside it, `campaign` runs everything and `report` tells of it.
"""
