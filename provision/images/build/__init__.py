"""Images from what images/ says: gathered here, put together by a builder, written byte for byte the same."""
