"""Kinds of measured data beside the carbon of profiles (docs/architecture.md#streams-of-data)."""
