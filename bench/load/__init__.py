"""The load generator behind `parley bench`: conversations in real time, over public protocols."""
