"""A FastAPI application with the server mounted in it."""
