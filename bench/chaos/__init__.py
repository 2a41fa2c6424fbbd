"""The chaos suite: a real system, conversations by script, faults by schedule, and what must hold.

`python -m bench.chaos --help`. The parts, from what is pure to what is not:

- `script`: what each session says (`real`: to real engines); `hearing` and `speaking`: what must
  come of it, to the sample
- `record`: what a client received; `invariants`: what is wrong with it
- `faults`: which fault strikes when; `recovery`: how long the turns it struck had to wait
- `system`, `proxy`: the processes, and the network between them and the clients
- `conversation`, `injection`, `sampling`: one session, the faults, the processes' memory, live
- `campaign`, `report`: all of it together, and its table
"""
