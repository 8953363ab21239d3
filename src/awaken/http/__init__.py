"""The public API: operations over the mailbox, as an ASGI application.

Above: `awaken serve`, and any ASGI application it is mounted in. Below: the mailbox.
Holds: a connection is a view, never an owner; closing one changes nothing.
"""
