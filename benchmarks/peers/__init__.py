"""What a user would pick instead, each at its best: a message with the code in plain text, one
HTTP call, nothing else. No sealing, no check of what leaves, no ledger.

Every module is imported twice: by its own workers, and by the harness, which enqueues. Addresses
come from the environment (:mod:`benchmarks.request`).
"""
