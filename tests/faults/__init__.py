"""The fault matrix: each row breaks something for real and measures what happens then."""
