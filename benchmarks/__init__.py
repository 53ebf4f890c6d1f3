"""A yardstick: this system and what a user would pick instead, side by side, on the same parts.

``python -m benchmarks --help`` says how; ``docs/benchmarks.md`` says what the figures mean.
"""
