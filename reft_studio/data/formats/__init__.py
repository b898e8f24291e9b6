"""The bytes of a file become records: JSON Lines, JSON, CSV, Parquet, Arrow."""
