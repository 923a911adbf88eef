"""The physics that every model shares, for ONE column: pure functions over small pytrees."""
