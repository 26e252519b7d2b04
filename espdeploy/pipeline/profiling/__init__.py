"""Reading what profilers and other tools wrote, and running them."""
