"""`python -m services.export` starts the service."""

from services.export.app import main

if __name__ == "__main__":
    main()
