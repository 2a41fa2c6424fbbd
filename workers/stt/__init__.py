"""Speech to text: what somebody said."""
