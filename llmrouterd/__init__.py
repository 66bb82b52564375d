"""The daemon. Rooms, and who may know whom:

route   decide (pure)            guard     permit (pure)          edge     sockets (trio, h11)
pipeline  one request, start to end: the only room where the others meet
detect  find, in texts (pure)
plugins, classifiers  extend     observe   tell (log, feed)       ops      run (composition root)
commands  the command line

`model` and `hooks` hold the nouns and protocols that every room shares. ARCHITECTURE.md at the
top of the repository has the map, the import table and a request's walk.
"""
