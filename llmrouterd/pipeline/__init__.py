"""One request, from the first byte in to the last byte out. The only room where the others meet."""
