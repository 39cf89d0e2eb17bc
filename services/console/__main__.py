"""`python -m services.console` starts the service."""

from services.console.app import main

if __name__ == "__main__":
    main()
