"""AG-UI 1.0: `HttpAgent` of `@ag-ui/client`, and whatever else speaks it, as they come.

Source: docs/howto/use-ag-ui.md.
"""
