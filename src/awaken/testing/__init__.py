"""Shipped to users: conformance cases per contract, a manual clock, scripted agents, fault injection."""
