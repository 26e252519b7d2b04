"""What nvprof prints: summaries, traces, metrics, events, messages; and the commands that make it print them."""
