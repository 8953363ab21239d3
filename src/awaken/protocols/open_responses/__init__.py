"""Open Responses: an agent is a model, and a response is a turn of a run. Source: docs/howto/use-openai-clients.md."""
