"""What HTML pages share: style, the slider between two pictures, curves, and the loading of templates."""
