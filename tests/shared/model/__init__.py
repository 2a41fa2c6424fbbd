"""What the scripts of `shared/scripts` promise, in plain Python: the oracle of their model tests.

An oracle's methods have the names and the arguments of the scripts' wrappers and return what those
must return; its `view` is what the broker must hold then.
"""

from tests.shared.model.jobs import JobScripts
from tests.shared.model.lanes import LaneScripts
from tests.shared.model.sessions import SessionScripts


class Oracle(JobScripts, SessionScripts, LaneScripts):
    """One shard with one lane."""
