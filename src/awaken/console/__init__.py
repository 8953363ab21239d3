"""The console: a page that shows and operates a server, made of static files and the public HTTP API."""
