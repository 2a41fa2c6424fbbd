"""The gateway: client protocols on one side, the broker's streams on the other."""
