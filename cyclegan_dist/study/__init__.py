"""The real-or-fake study with people: its images, its server, its answers and its report."""
