"""Translating on request: an HTTP service and its page. What computes behind it, Ray's replicas or this process, it is
told.
"""
