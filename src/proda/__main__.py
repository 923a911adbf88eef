"""`python -m proda`: the command line."""

from proda.cli import main

if __name__ == "__main__":
    main()
