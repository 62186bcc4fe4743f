"""The HTTP service that translates images, and its page. Its caller provides the processes that translate."""
