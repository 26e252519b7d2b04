"""A suite of measurements, one by one or on many devices at once."""
