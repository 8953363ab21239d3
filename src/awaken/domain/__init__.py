"""Values and rules: standard library and msgspec only, no I/O. `clock` and `ids` alone meet the world."""
