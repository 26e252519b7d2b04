"""espdeploy: take a network to a device and measure it there, with figures that hold up."""

__version__ = "0.1.0"
