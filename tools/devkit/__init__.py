"""The modules behind ./dev: they install, start and stop what BEDS needs on a developer's machine.

Nothing here is shipped, and nothing here knows how BEDS works inside: it runs the `beds` binary like any operator does.
"""
