from services.forwarder.app import main

main()
