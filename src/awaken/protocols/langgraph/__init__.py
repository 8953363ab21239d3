"""LangGraph's API, as its clients speak it: assistants, threads, state, runs and both of its streaming protocols."""
