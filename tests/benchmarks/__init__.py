"""How fast, big and thrifty this project is, beside what people use today: ``make bench``, ``make bench ONLY=parse``.

Each ``bench_<name>.py`` is one bench: its docstring says how it measures, and ``measure(small=…)`` returns rows
(:class:`tests.benchmarks.table.Row`). Where there is a peer, both sides are measured in the same run, in turns.
"""
