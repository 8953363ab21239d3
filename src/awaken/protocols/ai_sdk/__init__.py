"""The UI message stream of the AI SDK: what `useChat` and its kin speak.

Source: docs/howto/use-the-ai-sdk.md; SRV-031, SRV-032.
"""
