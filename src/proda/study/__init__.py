"""The whole study in one command, and the made-up world on which it can be tried."""
