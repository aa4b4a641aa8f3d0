"""`python -m crossfade`."""

from crossfade.cli.main import run

if __name__ == "__main__":
    run()
