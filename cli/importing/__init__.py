"""`muster import`: a file of rows, sent as tables of Arrow in pieces that count once however often they are sent."""
