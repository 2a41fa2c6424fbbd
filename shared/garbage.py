"""Python's garbage collector, kept from walking what will never be garbage."""

import gc


def settle() -> None:
    """Takes all there is by now, modules, engines and models, out of later collections.

    A full collection walks every container of the process while nothing else runs: 100 ms and more
    after start-up's imports, in which no session is served. What is made from here on is little.
    """
    gc.collect()
    gc.freeze()
