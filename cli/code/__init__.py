"""Audiences as code: files of audiences, compared with the account and applied to it."""
