"""The commands: `awaken serve` runs the server, the others talk to one over HTTP."""
