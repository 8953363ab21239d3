"""What runs an agent: one contract, one driver per kind of agent."""
