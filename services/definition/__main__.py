"""`python -m services.definition`"""

from services.definition.app import main

main()
