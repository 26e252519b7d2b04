"""Power and utilisation sources, sampled on the benchmark's clock."""
