"""`python -m proda`: the command line."""

from proda.cli import main

main()
