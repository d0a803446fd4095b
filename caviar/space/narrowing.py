class NarrowedSpace:
    changes = ()
