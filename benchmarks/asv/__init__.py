"""Benchmarks over time: what a change of the library makes slower, commit by commit (asv, airspeed velocity).

    python -m pip install --group asv && asv run --quick --python=same

In: the library of each commit, built by asv (asv.conf.json), and rows of the tables of ../layers.csv, ../convbench.csv.
Out: times and bytes, kept in .asv/ and drawn by ``asv publish``.
Next: ``rows.py`` (which rows), ``layers.py`` (their passes), ``calls.py`` (what a call costs beside its arithmetic).
Comparisons with other libraries are ../compare.py's.
"""
