"""The commands of ``python -m convpp``.

In: words.   Out: text, or one JSON object, and an exit code.   Next: ``cli.py`` (the words); ``demo.py``, ``check.py``
and ``bench.py`` (what the commands do); ``machine.py`` (the peak); ``report.py`` (JSON).
"""
