"""How fast is it, against what: one file per question, every comparison a ratio inside one run.

`python -m benchmarks` (`make bench`) answers all of them, prints a table and writes `results.json` beside this file.
"""
