"""`python -m cli`: what the launcher `./muster` starts."""

from cli.app import main

if __name__ == "__main__":
    main()
