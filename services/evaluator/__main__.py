"""`python -m services.evaluator` starts the evaluator."""

from services.evaluator.app import main

main()
