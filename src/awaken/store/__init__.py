"""What must survive a crash: the contract of a store, and its implementations."""
