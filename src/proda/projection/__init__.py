"""Models forward in time from their steady states, under warming and changed carbon input."""
