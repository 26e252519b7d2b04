"""What Nsight Systems prints and exports (tables of ``nsys stats``, messages, the SQLite file), and its commands."""
