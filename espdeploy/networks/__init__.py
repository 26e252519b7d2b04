"""The zoo: one file per paper, one registry, and what released checkpoints are."""
