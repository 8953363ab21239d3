"""A page to chat on, with the server behind it."""
