"""How good a pair of generators is: distances between piles of images, errors image by image, and what went wrong."""
