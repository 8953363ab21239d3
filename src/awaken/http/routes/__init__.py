"""The handlers, by resource: thin, from a checked call to the mailbox and back."""
