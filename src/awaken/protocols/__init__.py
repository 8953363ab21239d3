"""Other protocols over the same log: a folder each, `wire` (types), `encoder` (pure) and `routes` (thin)."""
