"""Put evaluated models side by side, and say only what the numbers support: tables, charts, report."""
