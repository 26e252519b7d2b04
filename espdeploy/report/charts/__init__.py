"""Small SVG charts that need no script and take their colours from the page."""
