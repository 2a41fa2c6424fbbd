"""What of the Realtime protocol this server does, found out by asking it.

`fields` walks the types of the installed `openai` package, `probes` has something to send for each
of them, `asking` sends it to a running server, `report` writes down what came of it.
"""
