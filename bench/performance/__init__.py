"""docs/performance.md, measured and written by one command: `make performance`.

`steps` are the tools that are run, one after the other; `measuring` runs them and keeps what each
wrote; `results` reads that back. `goals` holds it against what was asked for, `sections` and
`plots` show it, and `page` puts the page together with the prose of `notes.toml`.
"""
