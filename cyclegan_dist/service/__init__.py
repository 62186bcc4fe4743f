"""Translation on request: an HTTP service and its page. Its caller decides which processes translate."""
