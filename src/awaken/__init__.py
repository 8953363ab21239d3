"""A durable server for agent runs."""
