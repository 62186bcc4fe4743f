"""What HTML pages of this project share: style, the slider between two pictures, and the loading of templates."""
