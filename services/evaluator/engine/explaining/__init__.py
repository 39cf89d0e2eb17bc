"""One person, kind by kind: a file for each kind of criterion says when it is true of the person, what was found, and what turns it."""
