"""`python -m services.sharing` starts the service."""

from services.sharing.app import main

if __name__ == "__main__":
    main()
