"""What is trained: checked loading, heads, the map of layers."""
