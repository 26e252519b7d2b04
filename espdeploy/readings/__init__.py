"""The grammar of lines that monitors read as they come and profilers read from files."""
