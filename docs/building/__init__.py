"""What the pages need of Sphinx beyond its extensions.

In: the repository's Markdown, as it is read there.   Out: pages of the site.
Next: ``links.py`` (where links and names lead), ``inventories.py`` (names of other libraries), ``../conf.py``.
"""
